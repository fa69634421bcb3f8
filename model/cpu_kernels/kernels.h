// What the kernels share: threads, scratch memory and arithmetic on registers of 16 floats.

#pragma once

#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace palipipe {

namespace ffi = xla::ffi;

constexpr int64_t kLanes = 16;  // float32 numbers in a register; outputs of a panel
constexpr int64_t kRows = 14;   // of a tile: 14 x 2 sums, 2 weights, 1 activation: 31 registers
constexpr int64_t kGroup = 512;  // inputs that share a scale in int8

// Runs work(0) … work(count - 1) on the calling thread and those of the pool that are free.
//
// The caller waits only for work that has begun, never for a place in the pool: the pool's
// threads may themselves be callers.
template <typename Work>
void ParallelFor(ffi::ThreadPool& pool, int64_t count, const Work& work) {
  struct State {
    std::atomic<int64_t> next{0};
    std::atomic<int64_t> active{0};
  };
  auto state = std::make_shared<State>();
  const Work* shared = &work;
  auto run = [state, shared, count] {
    state->active.fetch_add(1);
    for (int64_t i; (i = state->next.fetch_add(1)) < count;) (*shared)(i);
    state->active.fetch_sub(1);
  };
  int64_t helpers = std::min(pool.num_threads(), count) - 1;
  for (int64_t i = 0; i < helpers; ++i) pool.Schedule([run] { run(); });
  run();
  for (int spins = 0; state->active.load() != 0; ++spins) {
    if (spins < 4096) {
      _mm_pause();
    } else {
      std::this_thread::yield();
    }
  }
}

// Which lanes hold one of the `left` numbers that are left.
inline __mmask16 Mask(int64_t left) { return left >= kLanes ? 0xffff : (1u << left) - 1; }

// The calling thread's own memory, kept between calls so that none waits for fresh pages.
template <typename Use>
float* Scratch(int64_t floats) {
  thread_local std::vector<float> scratch;
  if (static_cast<int64_t>(scratch.size()) < floats) scratch.resize(floats);
  return scratch.data();
}

// e to the x, to 2 units in the last place; 0 below -87.
inline __m512 Exp(__m512 x) {
  x = _mm512_max_ps(x, _mm512_set1_ps(-87.5f));
  __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)),
                                  _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
  // Taylor's terms, from 1 / 7! down; |r| is at most ln(2) / 2.
  __m512 sum = _mm512_set1_ps(1 / 5040.0f);
  for (float term : {1 / 720.0f, 1 / 120.0f, 1 / 24.0f, 1 / 6.0f, 0.5f, 1.0f, 1.0f})
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(term));
  return _mm512_scalef_ps(sum, n);
}

// x times the share of the normal distribution below it, by the usual tanh:
// x / (1 + exp(-2 sqrt(2 / pi) (x + 0.044715 x^3))).
inline __m512 Gelu(__m512 x) {
  __m512 one = _mm512_set1_ps(1);
  __m512 inner = _mm512_fmadd_ps(_mm512_mul_ps(x, x), _mm512_set1_ps(0.044715f), one);
  __m512 e = Exp(_mm512_mul_ps(_mm512_mul_ps(x, inner), _mm512_set1_ps(-1.59576912f)));
  return _mm512_div_ps(x, _mm512_add_ps(one, e));
}

// cap * tanh(x / cap).
inline __m512 SoftCap(__m512 x, float cap) {
  __m512 one = _mm512_set1_ps(1);
  __m512 e = Exp(_mm512_mul_ps(_mm512_min_ps(x, _mm512_set1_ps(cap * 20)), _mm512_set1_ps(-2 / cap)));
  return _mm512_mul_ps(_mm512_set1_ps(cap),
                       _mm512_div_ps(_mm512_sub_ps(one, e), _mm512_add_ps(one, e)));
}

}  // namespace palipipe
