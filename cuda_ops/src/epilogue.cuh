// What follows a convolution in StyleGAN2: y = clamp(act(x * scale + noise + bias) * gain) * post.
#pragma once
#include "device.cuh"

namespace latentedit {

// As in epilogue.h; all pointers are device memory.
struct Epilogue {
    const float *scale, *noise, *bias, *post;
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
    LE_DEVICE void apply(const Epilogue& e, int64_t image, int64_t channel, int64_t channels, int64_t pixel, float (&u)[V]) const {
        const float shift = e.noise ? e.noise[image * e.noise_stride + pixel] : 0.0f;
#pragma unroll
        for (int i = 0; i < V; ++i) u[i] = u[i] * scale[i] + (shift + bias[i]);
        Activation::apply(e, u);
        if (e.post) {
            float post[V];
            vector_of<V>(e.post, image * channels + channel, 1.0f, post);
#pragma unroll
            for (int i = 0; i < V; ++i) u[i] *= post[i];
        }
    }
};

}  // namespace latentedit
