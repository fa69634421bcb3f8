// Puts weights in the order of matmul.cc.

#include <cmath>
#include <cstring>

#include "kernels.h"

using palipipe::kGroup;
using palipipe::kLanes;

// A matrix of bfloat16's bits, of K inputs and N outputs, into panels of ceil(N / 16).
// Element (k, n) lies at matrix[k * by_input + n * by_output].
extern "C" void PalipipePackBfloat16(const uint16_t* matrix, int64_t by_input, int64_t by_output,
                                     int64_t inputs, int64_t outputs, uint16_t* panels) {
  int64_t padded = (inputs + 1) / 2 * 2;
  for (int64_t first = 0; first < outputs; first += kLanes)
    for (int64_t k = 0; k < padded; ++k)
      for (int64_t lane = 0; lane < kLanes; ++lane) {
        bool exists = first + lane < outputs && k < inputs;
        panels[first * padded + k / 2 * 2 * kLanes + lane * 2 + k % 2] =
            exists ? matrix[k * by_input + (first + lane) * by_output] : 0;
      }
}

// The same into int8, with scales and offsets of each group of inputs: [ceil(N / 16), groups, 16].
extern "C" void PalipipePackInt8(const uint16_t* matrix, int64_t by_input, int64_t by_output,
                                 int64_t inputs, int64_t outputs, int8_t* panels, float* scales,
                                 int32_t* offsets) {
  int64_t padded = (inputs + 3) / 4 * 4, groups = (inputs + kGroup - 1) / kGroup;
  for (int64_t first = 0; first < outputs; first += kLanes)
    for (int64_t group = 0; group < groups; ++group) {
      int64_t start = group * kGroup, end = std::min(start + kGroup, padded);
      auto weight = [&](int64_t k, int64_t lane) {
        if (first + lane >= outputs || k >= inputs) return 0.0f;
        uint32_t bits = uint32_t{matrix[k * by_input + (first + lane) * by_output]} << 16;
        float number;
        std::memcpy(&number, &bits, sizeof number);
        return number;
      };
      float peak[kLanes] = {}, factor[kLanes];
      int32_t sum[kLanes] = {};
      for (int64_t k = start; k < end; ++k)
        for (int64_t lane = 0; lane < kLanes; ++lane)
          peak[lane] = std::max(peak[lane], std::fabs(weight(k, lane)));
      for (int64_t lane = 0; lane < kLanes; ++lane)
        factor[lane] = peak[lane] > 0 ? 127 / peak[lane] : 0;
      for (int64_t k = start; k < end; ++k)
        for (int64_t lane = 0; lane < kLanes; ++lane) {
          auto level = static_cast<int32_t>(std::nearbyint(weight(k, lane) * factor[lane]));
          panels[first * padded + k / 4 * 4 * kLanes + lane * 4 + k % 4] = level;
          sum[lane] += level;
        }
      for (int64_t lane = 0; lane < kLanes; ++lane) {
        int64_t at = (first / kLanes * groups + group) * kLanes + lane;
        scales[at] = peak[lane] / 127;
        offsets[at] = -128 * sum[lane];
      }
    }
}
