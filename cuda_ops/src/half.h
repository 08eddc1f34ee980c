// 16-bit floating types on the CPU. Compilers older than GCC 12 know no _Float16 in C++: they get the conversions here.
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

}  // namespace latentedit
