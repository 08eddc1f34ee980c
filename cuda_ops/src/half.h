// Numbers in memory on the CPU: conversions of 16-bit types, and of the others, which convert to themselves.
// Compilers older than GCC 12 know no _Float16 in C++: they get the conversions here.
#pragma once
#include <cstdint>
#include <cstring>

namespace latentedit {

inline float float_of(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

inline uint32_t bits_of(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}

#if defined(__FLT16_MAX__) && !defined(LE_SOFT_HALF)
using float16 = _Float16;
inline float load(float16 x) { return static_cast<float>(x); }
inline void store(float16& to, float x) { to = static_cast<float16>(x); }
#else
struct float16 { uint16_t bits; };

inline float load(float16 x) {
    const uint32_t magnitude = (x.bits & 0x7fffu) << 13, sign = (x.bits & 0x8000u) << 16;
    const float finite = float_of(magnitude) * 0x1p112f;  // shifts the exponent, subnormal numbers included
    const uint32_t bits = magnitude >= 0x0f800000u ? magnitude | 0x7f800000u : bits_of(finite);
    return float_of(bits | sign);
}

inline void store(float16& to, float x) {  // round to nearest even
    const uint32_t sign = bits_of(x) >> 16 & 0x8000u, magnitude = bits_of(x) & 0x7fffffffu;
    uint32_t half;
    if (magnitude > 0x7f800000u) half = 0x7e00u;
    else if (magnitude >= 0x47800000u) half = 0x7c00u;
    else if (magnitude < 0x38800000u) half = bits_of(float_of(magnitude) + 0.5f) - 0x3f000000u;
    else half = (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
    to.bits = static_cast<uint16_t>(half | sign);
}
#endif

struct bfloat16 { uint16_t bits; };

inline float load(bfloat16 x) { return float_of(static_cast<uint32_t>(x.bits) << 16); }

inline void store(bfloat16& to, float x) {  // round to nearest even; NaN stays NaN
    const uint32_t bits = bits_of(x), rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    to.bits = static_cast<uint16_t>(x != x ? 0x7fc0u : rounded);
}

inline float load(float x) { return x; }
inline double load(double x) { return x; }
inline void store(float& to, float x) { to = x; }
inline void store(double& to, double x) { to = x; }

// Whole runs of numbers to float and back. Compilers do not vectorise conversions of _Float16, so F16C is named here.
template <class T, class S> inline void widen(const T* __restrict from, S* __restrict to, int64_t n) {
    for (int64_t i = 0; i < n; ++i) to[i] = load(from[i]);
}

template <class T, class S> inline void narrow(const S* __restrict from, T* __restrict to, int64_t n) {
    for (int64_t i = 0; i < n; ++i) store(to[i], from[i]);
}

#ifdef __F16C__
typedef short Halves __attribute__((vector_size(16)));
typedef float Floats __attribute__((vector_size(32)));

inline void widen(const float16* __restrict from, float* __restrict to, int64_t n) {
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        Halves halves;
        std::memcpy(&halves, from + i, 16);
        const Floats floats = __builtin_ia32_vcvtph2ps256(halves);
        std::memcpy(to + i, &floats, 32);
    }
    for (; i < n; ++i) to[i] = load(from[i]);
}

inline void narrow(const float* __restrict from, float16* __restrict to, int64_t n) {
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        Floats floats;
        std::memcpy(&floats, from + i, 32);
        const Halves halves = __builtin_ia32_vcvtps2ph256(floats, 0);  // to the nearest, ties to even
        std::memcpy(to + i, &halves, 16);
    }
    for (; i < n; ++i) store(to[i], from[i]);
}
#endif

}  // namespace latentedit
