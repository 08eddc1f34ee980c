// Vectors of float as wide as the machine's registers, loaded from any of the 16-bit and 32-bit types.
#pragma once
#include <cstring>

#include "half.h"

#define LE_INLINE inline __attribute__((always_inline))

namespace latentedit {

#if defined(__AVX512F__)
constexpr int kLanes = 16, kWide = 4;
#elif defined(__AVX__)
constexpr int kLanes = 8, kWide = 2;
#else
constexpr int kLanes = 4, kWide = 2;
#endif

typedef float Vec __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));

LE_INLINE Vec at(const float* p) { return *reinterpret_cast<const Vec*>(p); }
LE_INLINE void put(float* p, Vec v) { *reinterpret_cast<Vec*>(p) = v; }
LE_INLINE Vec all(float x) { return x - Vec{}; }

LE_INLINE Vec at(const bfloat16* p) {
    typedef uint16_t Short __attribute__((vector_size(kLanes * 2)));
    typedef uint32_t Long __attribute__((vector_size(kLanes * 4)));
    Short bits;
    std::memcpy(&bits, p, sizeof(bits));
    return (Vec)(__builtin_convertvector(bits, Long) << 16);
}

LE_INLINE Vec at(const float16* p) {
    float values[kLanes];
    widen(p, values, kLanes);
    return at(values);
}

}  // namespace latentedit
