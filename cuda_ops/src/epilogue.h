// What follows a convolution in StyleGAN2, fused: y = clamp(act(x * scale + noise + bias) * gain) * post (+ add).
#pragma once
#include <vector>

#include "cpu.h"

namespace latentedit {

// Mirrored by ctypes in interface.py. Vectors are float32; any pointer may be null.
struct Epilogue {
    const float* scale;    // [N, C]: demodulation
    const float* noise;    // [N or 1, H, W]
    const float* bias;     // [C]
    const float* post;     // [N, C]: modulation of the next layer, multiplied into the result
    void* product;         // of the GPU's kernels; null here
    int64_t noise_stride;  // H * W, or 0 where all images share one map
    int32_t act;
    float alpha, gain, clamp;
};

// One image's vectors with the defaults filled in.
class EpilogueRow {
  public:
    EpilogueRow(const Epilogue* e, int64_t image, int64_t channels, int64_t width)
        : e_(e), image_(image), channels_(channels), width_(width) {
        if (!e) return;
        const auto pick = [&](const float* p, int64_t at, float missing) {
            return p ? std::vector<float>(p + at, p + at + channels) : std::vector<float>(channels, missing);
        };
        scale_ = pick(e->scale, image * channels, 1.0f);
        bias_ = pick(e->bias, 0, 0.0f);
        post_ = pick(e->post, image * channels, 1.0f);
    }

    // `row`: the pixels [from, from + count) of image row y, C channels each.
    void pixels(float* row, int64_t y, int64_t from, int64_t count) const {
        if (!e_) return;
        const float* noise = noise_row(y);
        with_act(e_->act, [&](auto a) { pixels_<decltype(a)::value>(row, noise ? noise + from : nullptr, count); });
    }

    // `row`: the pixels [from, from + count) of image row y of one channel.
    void plane(float* row, int64_t y, int64_t from, int64_t count, int64_t channel) const {
        if (!e_) return;
        const float* noise = noise_row(y);
        with_act(e_->act,
                 [&](auto a) { plane_<decltype(a)::value>(row, noise ? noise + from : nullptr, count, channel); });
    }

  private:
    const float* noise_row(int64_t y) const {
        return e_->noise ? e_->noise + image_ * e_->noise_stride + y * width_ : nullptr;
    }

    template <int A> void pixels_(float* __restrict row, const float* noise, int64_t count) const {
        const float alpha = e_->alpha, gain = e_->gain, clamp = e_->clamp;
        const float* __restrict scale = scale_.data();
        const float* __restrict bias = bias_.data();
        const float* __restrict post = post_.data();
        for (int64_t i = 0; i < count; ++i, row += channels_) {
            const float shift = noise ? noise[i] : 0.0f;
            for (int64_t c = 0; c < channels_; ++c)
                row[c] = bias_act_value<A>(row[c] * scale[c] + (shift + bias[c]), alpha, gain, clamp) * post[c];
        }
    }

    template <int A> void plane_(float* __restrict row, const float* noise, int64_t count, int64_t channel) const {
        const float alpha = e_->alpha, gain = e_->gain, clamp = e_->clamp;
        const float scale = scale_[channel], bias = bias_[channel], post = post_[channel];
        for (int64_t i = 0; i < count; ++i) {
            const float u = row[i] * scale + ((noise ? noise[i] : 0.0f) + bias);
            row[i] = bias_act_value<A>(u, alpha, gain, clamp) * post;
        }
    }

    const Epilogue* e_;
    int64_t image_, channels_, width_;
    std::vector<float> scale_, bias_, post_;
};

}  // namespace latentedit
