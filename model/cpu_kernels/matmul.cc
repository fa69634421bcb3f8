// Products of activations and packed weights on x86 CPUs with AVX-512, as XLA custom calls.
//
// XLA multiplies a row and a bfloat16 matrix at a twentieth of the memory's speed and larger
// products at some 60 % of the processor's. These kernels read the weights in the order in which
// they are multiplied, from the whole stack of layers, so that no layer is ever copied out of it.
//
// A weight of K inputs and N outputs is cut into panels of 16 outputs; panel p holds, for each
// group of inputs that one instruction takes (2 in bfloat16, 4 in int8), those of all its outputs
// side by side:
//     bfloat16   panels[layer][p][K / 2][16][2]
//     int8       panels[layer][p][K / 4][16][4], and float scales[layer][p][groups][16]
// In int8, inputs are taken in groups of kGroup; each has one scale for an output's weights and one
// for a row's activations, found as the row comes in.
//
// A row's sums are added in the same order whatever rows it comes with and however many threads
// there are.

#include <cmath>
#include <cstring>
#include <utility>

#include "kernels.h"

namespace palipipe {
namespace {

constexpr int64_t kTaskPanels = 4;    // panels that a thread takes at a time
constexpr int64_t kChunkTiles = 20;   // of rows, whose sums a task keeps in L2
constexpr int64_t kBlockSteps = 512;  // of a tile of activations (28 kB) that stays in L1
constexpr int64_t kAhead = 1024;      // bytes of weights fetched ahead of their use
constexpr int64_t kFewRows = 8;       // wait for memory, which is read fastest in one stream

// Activations in the order in which they are multiplied: tiles of up to 14 rows, in a tile steps
// of as many inputs as one instruction takes, in a step those of all its rows. Rows read as they
// come, a power of two apart, would push each other out of the cache.
struct Tiles {
  int64_t rows;
  int64_t steps;   // of 2 inputs in bfloat16, of 4 in int8
  int64_t groups;  // of inputs with one scale; 0 in bfloat16
  std::vector<uint32_t> data;
  std::vector<float> scales;  // [tile][group][row]

  int64_t count() const { return (rows + kRows - 1) / kRows; }
  int64_t height(int64_t tile) const { return std::min(kRows, rows - tile * kRows); }
  uint32_t* at(int64_t tile, int64_t step) {
    return data.data() + tile * kRows * steps + step * height(tile);
  }
  float* scales_at(int64_t tile, int64_t group) {
    return scales.data() + tile * kRows * groups + group * height(tile);
  }
};

// The calling thread's own, so that no call waits for fresh memory.
Tiles& TilesFor(int64_t rows, int64_t steps, int64_t groups) {
  thread_local Tiles tiles;
  tiles.rows = rows;
  tiles.steps = steps;
  tiles.groups = groups;
  if (static_cast<int64_t>(tiles.data.size()) < rows * steps) tiles.data.resize(rows * steps);
  if (static_cast<int64_t>(tiles.scales.size()) < rows * groups) tiles.scales.resize(rows * groups);
  return tiles;
}

// Sums of some rows and panels of 16 outputs, kept between blocks of inputs.
struct Sums {
  float* data;
  int64_t stride;
  float* at(int64_t row, int64_t panel) const { return data + row * stride + panel * kLanes; }
};

// ---------------------------------------------------------------------------------- bfloat16

// One row's pairs of inputs, each into an element of `to`; the rows of a tile are interleaved.
void TileRow(const uint16_t* x, int64_t steps, uint32_t* to, int64_t stride) {
  for (int64_t step = 0; step < steps; ++step)
    std::memcpy(to + step * stride, x + 2 * step, sizeof *to);
}

void TileRow(const float* x, int64_t steps, uint32_t* to, int64_t stride) {
  alignas(32) uint32_t pairs[8];
  for (int64_t step = 0; step < steps; step += 8) {
    __m512 numbers = _mm512_maskz_loadu_ps(Mask(2 * (steps - step)), x + 2 * step);
    _mm256_store_si256(reinterpret_cast<__m256i*>(pairs), (__m256i)_mm512_cvtneps_pbh(numbers));
    int64_t filled = std::min<int64_t>(8, steps - step);
    for (int64_t i = 0; i < filled; ++i) to[(step + i) * stride] = pairs[i];
  }
}

template <typename Number>
Tiles& Tile(ffi::ThreadPool& pool, const Number* x, int64_t rows, int64_t inputs) {
  Tiles& tiles = TilesFor(rows, inputs / 2, 0);
  ParallelFor(pool, tiles.count(), [&](int64_t tile) {
    int64_t height = tiles.height(tile);
    for (int64_t row = 0; row < height; ++row)
      TileRow(x + (tile * kRows + row) * inputs, tiles.steps, tiles.at(tile, 0) + row, height);
  });
  return tiles;
}

template <int R, int C>
void MultiplyTile(const uint32_t* x, const uint32_t* next, const uint16_t* w, int64_t w_stride,
                  int64_t steps, Sums sums, bool first) {
  __m512 sum[R][C];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c)
      sum[r][c] = first ? _mm512_setzero_ps() : _mm512_loadu_ps(sums.at(r, c));
  for (int64_t k = 0; k < steps; ++k) {
    __m512bh weights[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      const uint16_t* at = w + c * w_stride + k * 2 * kLanes;
      weights[c] = (__m512bh)_mm512_loadu_si512(at);
      _mm_prefetch(reinterpret_cast<const char*>(at) + kAhead, _MM_HINT_T0);
    }
    _mm_prefetch(reinterpret_cast<const char*>(next + k * R), _MM_HINT_T1);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      __m512bh activation = (__m512bh)_mm512_set1_epi32(x[k * R + r]);
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c)
        sum[r][c] = _mm512_dpbf16_ps(sum[r][c], activation, weights[c]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) _mm512_storeu_ps(sums.at(r, c), sum[r][c]);
}

// -------------------------------------------------------------------------------------- int8

__m512 LoadActivations(const uint16_t* x, __mmask16 mask) {
  __m512i bits = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, x));
  return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
}

__m512 LoadActivations(const float* x, __mmask16 mask) { return _mm512_maskz_loadu_ps(mask, x); }

// The largest magnitude; NaN where there is a NaN or an infinity, which a scale can't express.
template <typename Number>
float Peak(const Number* x, int64_t count) {
  __m512 largest = _mm512_setzero_ps();
  __mmask16 lost = 0;
  for (int64_t k = 0; k < count; k += kLanes) {
    __m512 v = LoadActivations(x + k, Mask(count - k));
    largest = _mm512_max_ps(largest, _mm512_abs_ps(v));
    lost |= _mm512_cmp_ps_mask(_mm512_sub_ps(v, v), _mm512_setzero_ps(), _CMP_NEQ_UQ);
  }
  return lost ? NAN : _mm512_reduce_max_ps(largest);
}

// Inputs as unsigned bytes, 128 being nothing, four of them in each element of `to`.
template <typename Number>
void QuantiseGroup(const Number* x, int64_t count, uint32_t* to, int64_t stride, float* scale) {
  float peak = Peak(x, count);
  *scale = peak / 127;
  __m512 factor = _mm512_set1_ps(peak > 0 ? 127 / peak : 0);
  alignas(16) uint32_t quads[4];
  for (int64_t k = 0; k < count; k += kLanes) {
    __m512 scaled = _mm512_mul_ps(LoadActivations(x + k, Mask(count - k)), factor);
    __m512i levels = _mm512_add_epi32(_mm512_cvtps_epi32(scaled), _mm512_set1_epi32(128));
    _mm_store_si128(reinterpret_cast<__m128i*>(quads), _mm512_cvtusepi32_epi8(levels));
    int64_t filled = std::min<int64_t>(4, (count - k + 3) / 4);
    for (int64_t i = 0; i < filled; ++i) to[(k / 4 + i) * stride] = quads[i];
  }
}

template <typename Number>
Tiles& Quantise(ffi::ThreadPool& pool, const Number* x, int64_t rows, int64_t inputs) {
  Tiles& tiles = TilesFor(rows, (inputs + 3) / 4, (inputs + kGroup - 1) / kGroup);
  ParallelFor(pool, tiles.count(), [&](int64_t tile) {
    int64_t height = tiles.height(tile);
    for (int64_t row = 0; row < height; ++row)
      for (int64_t group = 0; group < tiles.groups; ++group) {
        int64_t start = group * kGroup;
        QuantiseGroup(x + (tile * kRows + row) * inputs + start, std::min(kGroup, inputs - start),
                      tiles.at(tile, start / 4) + row, height, tiles.scales_at(tile, group) + row);
      }
  });
  return tiles;
}

// One group of scales of a layer's weights, and what 128 too much in each activation adds.
struct Scales {
  const float* scales;
  const int32_t* offsets;
  int64_t stride;  // of a panel
  Scales at(int64_t panel, int64_t group) const {
    int64_t by = panel * stride + group * kLanes;
    return {scales + by, offsets + by, stride};
  }
};

template <int R, int C>
void MultiplyTile(const uint32_t* x, const uint32_t* next, const float* x_scales, const int8_t* w,
                  int64_t w_stride, Scales w_scales, int64_t steps, Sums sums, bool first) {
  constexpr int64_t kSteps = kGroup / 4;
  for (int64_t start = 0; start < steps; start += kSteps, first = false) {
    int64_t group = start / kSteps, end = std::min(start + kSteps, steps);
    __m512i sum[R][C];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c)
        sum[r][c] = _mm512_loadu_si512(w_scales.at(c, group).offsets);
    for (int64_t k = start; k < end; ++k) {
      __m512i weights[C];
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) {
        const int8_t* at = w + c * w_stride + k * 4 * kLanes;
        weights[c] = _mm512_loadu_si512(at);
        _mm_prefetch(reinterpret_cast<const char*>(at) + kAhead, _MM_HINT_T0);
      }
      _mm_prefetch(reinterpret_cast<const char*>(next + k * R), _MM_HINT_T1);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        __m512i activation = _mm512_set1_epi32(x[k * R + r]);
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c)
          sum[r][c] = _mm512_dpbusd_epi32(sum[r][c], activation, weights[c]);
      }
    }
    __m512 scales[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) scales[c] = _mm512_loadu_ps(w_scales.at(c, group).scales);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      __m512 scale = _mm512_set1_ps(x_scales[group * R + r]);
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) {
        __m512 before = first ? _mm512_setzero_ps() : _mm512_loadu_ps(sums.at(r, c));
        __m512 product = _mm512_cvtepi32_ps(sum[r][c]);
        __m512 both = _mm512_mul_ps(scale, scales[c]);
        _mm512_storeu_ps(sums.at(r, c), _mm512_fmadd_ps(product, both, before));
      }
    }
  }
}

// ------------------------------------------------------------------------------- what both share

// MultiplyTile for a number of rows and panels (1 or 2) known when it runs.
template <int R = kRows, typename... Args>
void MultiplyTileOf(int64_t rows, int64_t panels, Args... args) {
  if constexpr (R > 0) {
    if (rows != R) {
      MultiplyTileOf<R - 1>(rows, panels, args...);
    } else if (panels == 2) {
      MultiplyTile<R, 2>(args...);
    } else {
      MultiplyTile<R, 1>(args...);
    }
  }
}

void Store(__m512 sums, float* out, __mmask16 mask) { _mm512_mask_storeu_ps(out, mask, sums); }

void Store(__m512 sums, uint16_t* out, __mmask16 mask) {
  _mm256_mask_storeu_epi16(out, mask, (__m256i)_mm512_cvtneps_pbh(sums));
}

// Where products go: out[row][0 … columns). Gated, each two panels give one of outputs,
// gelu(first) * second, which are weights packed in turns; columns is then a multiple of 16.
template <typename Number>
struct Output {
  Number* data;
  int64_t columns;
  bool gated;

  int64_t panels() const { return gated ? columns / 8 : (columns + kLanes - 1) / kLanes; }

  void StoreRow(const Sums& sums, int64_t row, int64_t at, int64_t begin, int64_t end) const {
    Number* to = data + row * columns;
    for (int64_t panel = begin; panel < end; panel += gated ? 2 : 1) {
      __m512 sum = _mm512_loadu_ps(sums.at(at, panel - begin));
      if (gated) {
        sum = _mm512_mul_ps(Gelu(sum), _mm512_loadu_ps(sums.at(at, panel - begin + 1)));
        Store(sum, to + panel / 2 * kLanes, 0xffff);
      } else {
        Store(sum, to + panel * kLanes, Mask(columns - panel * kLanes));
      }
    }
  }
};

template <typename Number>
Output(Number*, int64_t, bool) -> Output<Number>;

// Multiplies all tiles: the outputs are cut into tasks, the inputs into blocks.
// multiply(tile, next, height, panel, panels, start, steps, sums) adds one block to the sums of a
// tile, and meanwhile fetches the activations at `next`: the next tile's with a tile's last panels,
// else its own, which are there.
template <typename Out, typename Multiply>
void MultiplyTiles(ffi::ThreadPool& pool, Tiles& x, Out out, const Multiply& multiply) {
  int64_t panels = out.panels(), tasks = (panels + kTaskPanels - 1) / kTaskPanels;
  int64_t chunks = (x.count() + kChunkTiles - 1) / kChunkTiles;
  int64_t side = x.rows <= kFewRows ? 1 : 2;
  int64_t block = x.rows <= kFewRows ? x.steps : kBlockSteps;
  ParallelFor(pool, chunks * tasks, [&](int64_t index) {
    int64_t begin = index % tasks * kTaskPanels, end = std::min(begin + kTaskPanels, panels);
    int64_t first = x.count() * (index / tasks) / chunks;
    int64_t last = x.count() * (index / tasks + 1) / chunks;
    Sums sums{Scratch<Sums>((last - first) * kRows * kTaskPanels * kLanes), kTaskPanels * kLanes};
    for (int64_t start = 0; start < x.steps; start += block)
      for (int64_t tile = first; tile < last; ++tile)
        for (int64_t panel = begin; panel < end; panel += side) {
          bool leaves = panel + side >= end && tile + 1 < last;
          multiply(tile, x.at(leaves ? tile + 1 : tile, start), x.height(tile), panel,
                   std::min(side, end - panel), start, std::min(block, x.steps - start),
                   Sums{sums.at((tile - first) * kRows, panel - begin), sums.stride});
        }
    for (int64_t row = first * kRows; row < std::min(last * kRows, x.rows); ++row)
      out.StoreRow(sums, row, row - first * kRows, begin, end);
  });
}

template <typename Out>
void MultiplyBfloat16(ffi::ThreadPool& pool, Tiles& x, const uint16_t* weights, Out out) {
  int64_t size = x.steps * 2 * kLanes;
  MultiplyTiles(pool, x, out,
                [&](int64_t tile, const uint32_t* next, int64_t height, int64_t panel,
                    int64_t panels, int64_t start, int64_t steps, Sums sums) {
                  MultiplyTileOf(height, panels, x.at(tile, start), next,
                                 weights + panel * size + start * 2 * kLanes, size, steps, sums,
                                 start == 0);
                });
}

template <typename Out>
void MultiplyInt8(ffi::ThreadPool& pool, Tiles& x, const int8_t* weights, Scales scales, Out out) {
  int64_t size = x.steps * 4 * kLanes;
  MultiplyTiles(pool, x, out,
                [&](int64_t tile, const uint32_t* next, int64_t height, int64_t panel,
                    int64_t panels, int64_t start, int64_t steps, Sums sums) {
                  int64_t group = start * 4 / kGroup;
                  MultiplyTileOf(height, panels, x.at(tile, start), next, x.scales_at(tile, group),
                                 weights + panel * size + start * 4 * kLanes, size,
                                 scales.at(panel, group), steps, sums, start == 0);
                });
}

// ----------------------------------------------------------------------------------- custom calls

// Rows and columns of an array [..., columns].
std::pair<int64_t, int64_t> Matrix(const ffi::AnyBuffer& array) {
  int64_t columns = array.dimensions().back();
  return {static_cast<int64_t>(array.element_count()) / columns, columns};
}

// Elements of one layer of a stack, and where it begins.
template <typename Number, typename Buffer>
const Number* Layer(const Buffer& stack, const ffi::Buffer<ffi::S32>& layer) {
  int64_t size = stack.element_count() / stack.dimensions()[0];
  return reinterpret_cast<const Number*>(stack.untyped_data()) + layer.typed_data()[0] * size;
}

ffi::Error Wrong(const char* what) { return ffi::Error::InvalidArgument(what); }

// Whether so many panels hold what is written: see Output.
bool Fits(int64_t panels, int64_t columns, bool gated) {
  return gated ? panels == columns / 8 && columns % kLanes == 0 : panels * kLanes >= columns;
}

// Calls multiply(x, out) with pointers of the types that the two buffers have.
template <typename Multiply>
ffi::Error WithTypes(const ffi::AnyBuffer& x, ffi::AnyBuffer& out, const Multiply& multiply) {
  auto with_out = [&](auto* from) {
    if (out.element_type() == ffi::F32) {
      multiply(from, static_cast<float*>(out.untyped_data()));
    } else {
      multiply(from, static_cast<uint16_t*>(out.untyped_data()));
    }
  };
  for (auto type : {x.element_type(), out.element_type()})
    if (type != ffi::F32 && type != ffi::BF16) return Wrong("numbers are float32 or bfloat16");
  if (x.element_type() == ffi::F32) {
    with_out(static_cast<const float*>(x.untyped_data()));
  } else {
    with_out(static_cast<const uint16_t*>(x.untyped_data()));
  }
  return ffi::Error::Success();
}

// x: float32 or bfloat16[rows, K], K even. panels: uint16[layers, P, K / 2, 32].
// out: float32 or bfloat16[rows, N].
ffi::Error Bfloat16Call(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::Buffer<ffi::U16> panels,
                        ffi::Buffer<ffi::S32> layer, ffi::Result<ffi::AnyBuffer> out, bool gated) {
  auto [rows, inputs] = Matrix(x);
  int64_t columns = Matrix(*out).second;
  auto shape = panels.dimensions();
  if (shape.size() != 4 || shape[2] * 2 != inputs || !Fits(shape[1], columns, gated) ||
      layer.typed_data()[0] < 0 || layer.typed_data()[0] >= shape[0])
    return Wrong("activations and packed bfloat16 weights don't match");
  auto* weights = Layer<uint16_t>(panels, layer);
  return WithTypes(x, *out, [&](auto* from, auto* to) {
    MultiplyBfloat16(pool, Tile(pool, from, rows, inputs), weights, Output{to, columns, gated});
  });
}

// x: bfloat16 or float32[rows, K]. panels: int8[layers, P, ceil(K / 4), 64].
// scales: float32[layers, P, groups, 16]; offsets: int32, -128 times a group's sum of weights.
ffi::Error Int8Call(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::Buffer<ffi::S8> panels,
                    ffi::Buffer<ffi::F32> scales, ffi::Buffer<ffi::S32> offsets,
                    ffi::Buffer<ffi::S32> layer, ffi::Result<ffi::AnyBuffer> out, bool gated) {
  auto [rows, inputs] = Matrix(x);
  int64_t columns = Matrix(*out).second;
  auto shape = panels.dimensions();
  if (shape.size() != 4 || shape[2] != (inputs + 3) / 4 || !Fits(shape[1], columns, gated) ||
      scales.element_count() != offsets.element_count() || scales.dimensions().size() != 4 ||
      scales.dimensions()[2] != (inputs + kGroup - 1) / kGroup || layer.typed_data()[0] < 0 ||
      layer.typed_data()[0] >= shape[0])
    return Wrong("activations and packed int8 weights don't match");
  auto* weights = Layer<int8_t>(panels, layer);
  Scales factors{Layer<float>(scales, layer), Layer<int32_t>(offsets, layer),
                 scales.dimensions()[2] * kLanes};
  return WithTypes(x, *out, [&](auto* from, auto* to) {
    MultiplyInt8(pool, Quantise(pool, from, rows, inputs), weights, factors,
                 Output{to, columns, gated});
  });
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(PalipipeMatmulBfloat16, Bfloat16Call,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::Buffer<ffi::U16>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<bool>("gated"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(PalipipeMatmulInt8, Int8Call,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::Buffer<ffi::S8>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<bool>("gated"));

}  // namespace palipipe

// Whether this processor has the instructions above: 1 or 0.
extern "C" int PalipipeSupported() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq");
}
