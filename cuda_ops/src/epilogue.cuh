// What follows a convolution in StyleGAN2: y = clamp(act(x * scale + noise + bias) * gain) * post.
#pragma once
#include "device.cuh"

namespace latentedit {

// As in epilogue.h; all pointers are device memory. Where `product` is given, the value times `post` goes there, laid
// out as the result, which stays without the factor; else the result itself is multiplied.
struct Epilogue {
    const float *scale, *noise, *bias, *post;
    void* product;
    int64_t noise_stride;
    int32_t act;
    float alpha, gain, clamp;
};

template <int V> LE_DEVICE void vector_of(const float* p, int64_t at, float missing, float (&to)[V]) {
#pragma unroll
    for (int i = 0; i < V; ++i) to[i] = p ? p[at + i] : missing;
}

// Any activation: one switch, so only for kernels that hold a single copy of it.
template <int V> struct EpilogueValue {
    float (&u)[V];
    const Epilogue& e;
    template <int A> LE_DEVICE void run() {
#pragma unroll
        for (int i = 0; i < V; ++i) u[i] = bias_act_value<A>(u[i], e.alpha, e.gain, e.clamp);
    }
};

struct AnyAct {
    template <int V> static LE_DEVICE void apply(const Epilogue& e, float (&u)[V]) {
        EpilogueValue<V> value{u, e};
        with_act(e.act, value);
    }
};

// Linear, relu and leaky relu without a branch, for kernels that unroll.
struct PiecewiseLinear {
    template <int V> static LE_DEVICE void apply(const Epilogue& e, float (&u)[V]) {
        const float slope = e.act == LINEAR ? 1.0f : e.act == RELU ? 0.0f : e.alpha;
#pragma unroll
        for (int i = 0; i < V; ++i) {
            u[i] = (u[i] > 0.0f ? u[i] : u[i] * slope) * e.gain;
            if (e.clamp >= 0.0f) u[i] = u[i] > e.clamp ? e.clamp : u[i] < -e.clamp ? -e.clamp : u[i];
        }
    }
};

// The vectors of one image and V channels, kept in registers while a thread walks over pixels.
template <int V, class Activation> struct EpilogueVectors {
    float scale[V], bias[V];
    LE_DEVICE void fill(const Epilogue& e, int64_t image, int64_t channel, int64_t channels) {
        vector_of<V>(e.scale, image * channels + channel, 1.0f, scale);
        vector_of<V>(e.bias, channel, 0.0f, bias);
    }
    // u becomes the value before `post`.
    LE_DEVICE void apply(const Epilogue& e, int64_t image, int64_t pixel, float (&u)[V]) const {
        const float shift = e.noise ? e.noise[image * e.noise_stride + pixel] : 0.0f;
#pragma unroll
        for (int i = 0; i < V; ++i) u[i] = u[i] * scale[i] + (shift + bias[i]);
        Activation::apply(e, u);
    }
};

// Writes value and product, or the one that is wanted. `channel`: of the batch, N * C of them; `Step` 0: all V values
// belong to that channel, 1: to it and the next ones.
template <class T, int V, int Step>
LE_DEVICE void deliver(const Epilogue& e, int64_t channel, T* y, int64_t at, const float (&u)[V]) {
    if (!e.post || e.product) write<T, V>(y + at, u);
    if (!e.post) return;
    float v[V];
#pragma unroll
    for (int i = 0; i < V; ++i) v[i] = u[i] * e.post[channel + Step * i];
    write<T, V>((e.product ? static_cast<T*>(e.product) : y) + at, v);
}

}  // namespace latentedit
