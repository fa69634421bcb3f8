// Softmax attention in float32: of a picture's rows, of a prompt's, or of one token over the cache.
//
// XLA's CPU backend multiplies each head's small matrices apart, at a tenth of the processor's
// speed, and keeps every logit; here a tile of queries stays in the cache from logits to outputs.
// Keys and values are read from the whole stack of layers, of which XLA would copy one out.

#include <cmath>
#include <limits>

#include "kernels.h"

namespace palipipe {
namespace {

constexpr float kMasked = -2.3819763e38f;  // see MASKED in layers.py

// out[R][C * 16] = x[R][steps] times w[steps][C * 16], the last panel's lanes cut by a mask.
template <int R, int C>
void Tile(const float* x, int64_t x_stride, const float* w, int64_t w_panel, int64_t w_step,
          int64_t steps, __mmask16 last, float* out, int64_t out_stride) {
  __m512 sum[R][C];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int c = 0; c < C; ++c) sum[r][c] = _mm512_setzero_ps();
  for (int64_t k = 0; k < steps; ++k) {
    __m512 weights[C];
#pragma GCC unroll 2
    for (int c = 0; c < C; ++c)
      weights[c] = _mm512_maskz_loadu_ps(c == C - 1 ? last : 0xffff, w + c * w_panel + k * w_step);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      __m512 activation = _mm512_set1_ps(x[r * x_stride + k]);
#pragma GCC unroll 2
      for (int c = 0; c < C; ++c) sum[r][c] = _mm512_fmadd_ps(activation, weights[c], sum[r][c]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int c = 0; c < C; ++c) _mm512_storeu_ps(out + r * out_stride + c * kLanes, sum[r][c]);
}

template <int R = kRows, typename... Args>
void TileOf(int64_t rows, int64_t panels, Args... args) {
  if constexpr (R > 0) {
    if (rows != R) {
      TileOf<R - 1>(rows, panels, args...);
    } else if (panels == 2) {
      Tile<R, 2>(args...);
    } else {
      Tile<R, 1>(args...);
    }
  }
}

// All panels of a product, two at a time; `columns` may end within the last.
void Product(int64_t rows, int64_t columns, const float* x, int64_t x_stride, const float* w,
             int64_t w_panel, int64_t w_step, int64_t steps, float* out, int64_t out_stride) {
  int64_t panels = (columns + kLanes - 1) / kLanes;
  for (int64_t p = 0; p < panels; p += 2) {
    int64_t count = std::min<int64_t>(2, panels - p);
    __mmask16 last = Mask(columns - (p + count - 1) * kLanes);
    TileOf(rows, count, x, x_stride, w + p * w_panel, w_panel, w_step, steps, last,
           out + p * kLanes, out_stride);
  }
}

// Logits to weights in place, but for a factor, which is returned: 1 over their sum.
float Softmax(float* logits, int64_t keys, const bool* mask, float cap) {
  __m512 largest = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
  for (int64_t s = 0; s < keys; s += kLanes) {
    __mmask16 there = Mask(keys - s);
    __m512 x = _mm512_loadu_ps(logits + s);
    if (cap > 0) x = SoftCap(x, cap);
    if (mask != nullptr) {
      __m128i seen = _mm_maskz_loadu_epi8(there, mask + s);
      x = _mm512_mask_blend_ps(_mm_test_epi8_mask(seen, seen), _mm512_set1_ps(kMasked), x);
    }
    _mm512_storeu_ps(logits + s, x);
    largest = _mm512_mask_max_ps(largest, there, largest, x);
  }
  __m512 peak = _mm512_set1_ps(_mm512_reduce_max_ps(largest)), sum = _mm512_setzero_ps();
  for (int64_t s = 0; s < keys; s += kLanes) {
    __m512 e = Exp(_mm512_sub_ps(_mm512_loadu_ps(logits + s), peak));
    e = _mm512_maskz_mov_ps(Mask(keys - s), e);
    _mm512_storeu_ps(logits + s, e);
    sum = _mm512_add_ps(sum, e);
  }
  return 1 / _mm512_reduce_add_ps(sum);
}

float Dot(const float* a, const float* b, int64_t count) {
  __m512 sum = _mm512_setzero_ps();
  for (int64_t i = 0; i < count; i += kLanes) {
    __mmask16 there = Mask(count - i);
    sum = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(there, a + i), _mm512_maskz_loadu_ps(there, b + i),
                          sum);
  }
  return _mm512_reduce_add_ps(sum);
}

// x is padded to whole registers, out is not.
void Scale(const float* x, float factor, int64_t count, float* out) {
  for (int64_t i = 0; i < count; i += kLanes)
    _mm512_mask_storeu_ps(out + i, Mask(count - i),
                          _mm512_mul_ps(_mm512_loadu_ps(x + i), _mm512_set1_ps(factor)));
}

struct Shape {
  int64_t batch, queries, heads, channels, keys, kv_heads;
};

// One head of one row of the batch.
void Head(const Shape& n, const float* q, const float* k, const float* v, const bool* mask,
          float cap, float* out) {
  int64_t padded = (n.keys + kLanes - 1) / kLanes * kLanes;
  int64_t width = (n.channels + kLanes - 1) / kLanes * kLanes;
  float* keys = Scratch<Shape>(padded * n.channels + kRows * (padded + n.channels + width));
  float* logits = keys + padded * n.channels;
  float* queries = logits + kRows * padded;
  float* result = queries + kRows * n.channels;
  int64_t q_stride = n.heads * n.channels, k_stride = n.kv_heads * n.channels;
  // Keys as panels [padded / 16][channels][16].
  for (int64_t s = 0; s < padded; ++s)
    for (int64_t h = 0; h < n.channels; ++h)
      keys[(s / kLanes * n.channels + h) * kLanes + s % kLanes] =
          s < n.keys ? k[s * k_stride + h] : 0;
  for (int64_t row = 0; row < n.queries; row += kRows) {
    int64_t rows = std::min(kRows, n.queries - row);
    for (int64_t r = 0; r < rows; ++r)
      std::copy_n(q + (row + r) * q_stride, n.channels, queries + r * n.channels);
    Product(rows, padded, queries, n.channels, keys, n.channels * kLanes, kLanes, n.channels,
            logits, padded);
    float factors[kRows];
    for (int64_t r = 0; r < rows; ++r)
      factors[r] = Softmax(logits + r * padded, n.keys,
                           mask == nullptr ? nullptr : mask + (row + r) * n.keys, cap);
    Product(rows, n.channels, logits, padded, v, kLanes, k_stride, n.keys, result, width);
    for (int64_t r = 0; r < rows; ++r)
      Scale(result + r * width, factors[r], n.channels, out + (row + r) * q_stride);
  }
}

// The only query of each head that reads one head of keys and values, in one row of the batch:
// heads take the place of queries, and keys are read as they lie.
void Query(const Shape& n, const float* q, const float* k, const float* v, const bool* mask,
           float cap, float* out) {
  int64_t padded = (n.keys + kLanes - 1) / kLanes * kLanes;
  int64_t width = (n.channels + kLanes - 1) / kLanes * kLanes;
  int64_t k_stride = n.kv_heads * n.channels, group = n.heads / n.kv_heads;
  float* logits = Scratch<Shape>(kRows * (padded + width));
  float* result = logits + kRows * padded;
  for (int64_t head = 0; head < group; head += kRows) {
    int64_t heads = std::min(kRows, group - head);
    for (int64_t s = 0; s < n.keys; ++s)
      for (int64_t r = 0; r < heads; ++r)
        logits[r * padded + s] = Dot(q + (head + r) * n.channels, k + s * k_stride, n.channels);
    float factors[kRows];
    for (int64_t r = 0; r < heads; ++r)
      factors[r] = Softmax(logits + r * padded, n.keys, mask, cap);
    Product(heads, n.channels, logits, padded, v, kLanes, k_stride, n.keys, result, width);
    for (int64_t r = 0; r < heads; ++r)
      Scale(result + r * width, factors[r], n.channels, out + (head + r) * n.channels);
  }
}

using Floats = ffi::Buffer<ffi::F32, 4>;
using Stack = ffi::Buffer<ffi::F32, 5>;

// q, out: float32[B, T, N, H], q scaled. k, v: float32[layers, B, S, K, H]. mask: bool[B, T, S], or
// no element at all where every query sees every key. cap: of the logits, 0 for none.
ffi::Error AttentionCall(ffi::ThreadPool pool, Floats q, Stack k, Stack v,
                         ffi::Buffer<ffi::S32> layer, ffi::Buffer<ffi::PRED> mask,
                         ffi::Result<Floats> out, float cap) {
  auto of_q = q.dimensions(), of_k = k.dimensions();
  Shape n{of_q[0], of_q[1], of_q[2], of_q[3], of_k[2], of_k[3]};
  int64_t masked = static_cast<int64_t>(mask.element_count()), at = layer.typed_data()[0];
  if (of_k[1] != n.batch || of_k[4] != n.channels || n.heads % n.kv_heads ||
      v.element_count() != k.element_count() || out->element_count() != q.element_count() ||
      (masked != 0 && masked != n.batch * n.queries * n.keys) || at < 0 || at >= of_k[0])
    return ffi::Error::InvalidArgument("queries, keys, values and mask don't match");
  // What a task takes of the heads: one, or where there is one query all that read the same keys.
  int64_t group = n.heads / n.kv_heads, taken = n.queries == 1 ? group : 1;
  auto* work = n.queries == 1 ? Query : Head;
  ParallelFor(pool, n.batch * n.heads / taken, [&](int64_t task) {
    int64_t row = task * taken / n.heads, head = task * taken % n.heads;
    int64_t query = (row * n.queries * n.heads + head) * n.channels;
    int64_t key = ((at * n.batch + row) * n.keys * n.kv_heads + head / group) * n.channels;
    const bool* seen =
        masked == 0 ? nullptr : mask.typed_data() + row * n.queries * n.keys;
    work(n, q.typed_data() + query, k.typed_data() + key, v.typed_data() + key, seen, cap,
         out->typed_data() + query);
  });
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(PalipipeAttention, AttentionCall,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Floats>()
                                  .Arg<Stack>()
                                  .Arg<Stack>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::Buffer<ffi::PRED>>()
                                  .Ret<Floats>()
                                  .Attr<float>("cap"));

}  // namespace palipipe
