// The nine activations with their first and second derivatives, shared by the CPU and the CUDA kernels.
#pragma once
#include <cmath>

#ifdef __CUDACC__
#define LE_HD __host__ __device__ __forceinline__
#else
#define LE_HD inline __attribute__((always_inline))
#endif

namespace latentedit {

enum Act { LINEAR, RELU, LRELU, TANH, SIGMOID, ELU, SELU, SOFTPLUS, SWISH, NUM_ACTS };

constexpr double kSeluAlpha = 1.6732632423543772, kSeluScale = 1.0507009873554805;

// For linear, relu and lrelu the output alone tells the derivative, so that the input need not be kept.
LE_HD constexpr bool piecewise_linear(int act) { return act == LINEAR || act == RELU || act == LRELU; }

LE_HD double exp_(double x) { return ::exp(x); }
LE_HD double log1p_(double x) { return ::log1p(x); }

#ifdef __CUDACC__
LE_HD float exp_(float x) { return ::expf(x); }
LE_HD float log1p_(float x) { return ::log1pf(x); }
#else
// Branch-free and without library calls, so that compilers vectorise the loops that use it. Relative error 2e-7.
LE_HD float exp_(float x) {
    x = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    const float shifted = x * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: rounds to an integer in the low bits
    const float n = shifted - 12582912.0f;
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const int bits = (static_cast<int>(n) + 127) << 23;
    float scale;
    __builtin_memcpy(&scale, &bits, 4);
    return p * scale;
}

LE_HD float log1p_(float x) {  // for 0 <= x <= 1, where softplus needs it; atanh series, relative error 3e-7
    const float s = x / (2.0f + x), t = s * s;
    float p = 1.0f / 13;
    p = p * t + 1.0f / 11;
    p = p * t + 1.0f / 9;
    p = p * t + 1.0f / 7;
    p = p * t + 1.0f / 5;
    p = p * t + 1.0f / 3;
    return 2.0f * (s + s * t * p);
}
#endif

template <class T> LE_HD T abs_(T x) { return x < T(0) ? -x : x; }

// exp(x) - 1 for x <= 0 without the cancellation near zero.
template <class T> LE_HD T expm1_(T x) {
    if (sizeof(T) == 8) return T(::expm1(double(x)));
    const T e = exp_(x) - T(1);
    const T p =
        x * (T(1) + x * (T(0.5) + x * (T(1.0 / 6) + x * (T(1.0 / 24) + x * (T(1.0 / 120) + x * T(1.0 / 720))))));
    return x > T(-0.35) ? p : e;
}

template <class T> LE_HD T sigmoid_(T x) {
    const T e = exp_(-abs_(x));
    const T s = T(1) / (T(1) + e);
    return x < T(0) ? e * s : s;
}

template <class T> LE_HD T tanh_(T x) {
    const T m = expm1_(T(-2) * abs_(x));  // tanh|x| = -m / (2 + m)
    const T t = -m / (T(2) + m);
    return x < T(0) ? -t : t;
}

template <int A, class T> LE_HD T act_value(T x, T alpha) {
    if constexpr (A == RELU) return x > T(0) ? x : T(0);
    else if constexpr (A == LRELU) return x > T(0) ? x : x * alpha;
    else if constexpr (A == TANH) return tanh_(x);
    else if constexpr (A == SIGMOID) return sigmoid_(x);
    else if constexpr (A == ELU) {
        const T e = expm1_(x > T(0) ? T(0) : x);
        return x > T(0) ? x : e;
    } else if constexpr (A == SELU) {
        const T e = expm1_(x > T(0) ? T(0) : x) * T(kSeluAlpha);
        return (x > T(0) ? x : e) * T(kSeluScale);
    } else if constexpr (A == SOFTPLUS) return (x > T(0) ? x : T(0)) + log1p_(exp_(-abs_(x)));
    else if constexpr (A == SWISH) return x * sigmoid_(x);
    else return x;
}

// First derivative at x; for the piecewise linear ones x may be the output divided by a positive gain.
template <int A, class T> LE_HD T act_slope(T x, T alpha) {
    if constexpr (A == RELU) return x > T(0) ? T(1) : T(0);
    else if constexpr (A == LRELU) return x > T(0) ? T(1) : alpha;
    else if constexpr (A == TANH) {
        const T t = tanh_(x);
        return T(1) - t * t;
    } else if constexpr (A == SIGMOID) {
        const T s = sigmoid_(x);
        return s * (T(1) - s);
    } else if constexpr (A == ELU) {
        const T e = exp_(x > T(0) ? T(0) : x);
        return e;
    } else if constexpr (A == SELU) {
        const T e = exp_(x > T(0) ? T(0) : x) * T(kSeluAlpha);
        return (x > T(0) ? T(1) : e) * T(kSeluScale);
    } else if constexpr (A == SOFTPLUS) return sigmoid_(x);
    else if constexpr (A == SWISH) {
        const T s = sigmoid_(x);
        return s * (T(1) + x * (T(1) - s));
    } else return T(1);
}

template <int A, class T> LE_HD T act_curvature(T x) {
    if constexpr (A == TANH) {
        const T t = tanh_(x);
        return T(-2) * t * (T(1) - t * t);
    } else if constexpr (A == SIGMOID) {
        const T s = sigmoid_(x);
        return s * (T(1) - s) * (T(1) - T(2) * s);
    } else if constexpr (A == ELU) {
        const T e = exp_(x > T(0) ? T(0) : x);
        return x > T(0) ? T(0) : e;
    } else if constexpr (A == SELU) {
        const T e = exp_(x > T(0) ? T(0) : x) * T(kSeluAlpha * kSeluScale);
        return x > T(0) ? T(0) : e;
    } else if constexpr (A == SOFTPLUS) {
        const T s = sigmoid_(x);
        return s * (T(1) - s);
    } else if constexpr (A == SWISH) {
        const T s = sigmoid_(x);
        return s * (T(1) - s) * (T(2) + x * (T(1) - T(2) * s));
    } else return T(0);
}

// The three passes of bias_act on one element. `clamp` < 0 means none.
template <int A, class T> LE_HD T bias_act_value(T u, T alpha, T gain, T clamp) {
    T y = act_value<A>(u, alpha) * gain;
    if (clamp >= T(0)) y = y > clamp ? clamp : y < -clamp ? -clamp : y;
    return y;
}

// dy times the derivative; `ref` is the output for the piecewise linear activations, else the biased input.
template <int A, class T> LE_HD T bias_act_slope(T dy, T ref, T alpha, T gain, T clamp) {
    T y, s;
    if constexpr (piecewise_linear(A)) {
        y = ref;
        s = act_slope<A>(gain < T(0) ? -ref : ref, alpha);
    } else {
        y = clamp >= T(0) ? act_value<A>(ref, alpha) * gain : T(0);
        s = act_slope<A>(ref, alpha);
    }
    const T d = dy * (s * gain);
    return clamp >= T(0) && !(abs_(y) < clamp) ? T(0) : d;
}

template <int A, class T> LE_HD T bias_act_curvature(T v, T dy, T u, T alpha, T gain, T clamp) {
    const T y = clamp >= T(0) ? act_value<A>(u, alpha) * gain : T(0);
    const T d = v * dy * (act_curvature<A>(u) * gain);
    return clamp >= T(0) && !(abs_(y) < clamp) ? T(0) : d;
}

// u (the biased input) from the output of leaky ReLU, wherever it was not clamped.
template <class T> LE_HD T lrelu_inverse(T y, T alpha, T gain) {
    const T a = y / gain;
    return a < T(0) ? a / alpha : a;
}

}  // namespace latentedit
