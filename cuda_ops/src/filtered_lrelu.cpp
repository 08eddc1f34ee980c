// filtered_lrelu on the CPU: bias, upsampling filter, leaky ReLU, downsampling filter, without ever holding the
// upsampled image. A plane is walked row by row: `rows` keeps the horizontally upsampled input rows that the vertical
// taps reach, `window` the finished inner rows that the downsampling filter reaches (already filtered horizontally
// where that filter is separable).
#include <algorithm>
#include <vector>

#include "cpu.h"

namespace latentedit {
namespace {

// What reaches output position o of an upsampling filter: taps tap, tap + up, ... meet inputs first, first + 1, ...
struct Reach {
    int64_t first;
    int tap, count;
};

std::vector<Reach> reach(int64_t in, int64_t out, int up, int64_t pad, int taps) {
    std::vector<Reach> result(out);
    for (int64_t o = 0; o < out; ++o) {
        const int64_t first = std::max<int64_t>(0, (o - pad + up - 1 + (o < pad ? -(up - 1) : 0)) / up);
        const int64_t tap = first * up + pad - o;
        const int64_t most = tap < taps ? (taps - tap + up - 1) / up : 0;
        result[o] = {first, int(tap), int(std::max<int64_t>(0, std::min(most, in - first)))};
    }
    return result;
}

template <class S> struct Job {
    int64_t height, width, inner_height, inner_width, out_height, out_width;
    int up, down, kd_x, kd_y;
    std::vector<S> fu_x, fu_y, fd;  // correlation order; fu with the gain of the upsampling; fd is [kd_y, kd_x] or x, y
    bool separable;                 // fd
    std::vector<Reach> across, along;
    S gain, slope, clamp;  // clamp < 0: none
};

// Correlate a row with every tap at stride `down`: the row is split by phase first, so that all loops are contiguous.
template <class S> void shrink(const Job<S>& job, const S* phases, const S* taps, S* __restrict out, bool add) {
    const int64_t stride = job.inner_width / job.down + 1;
    if (!add) std::fill(out, out + job.out_width, S(0));
    for (int k = 0; k < job.kd_x; ++k) {
        const S f = taps[k];
        const S* __restrict from = phases + (k % job.down) * stride + k / job.down;
        for (int64_t o = 0; o < job.out_width; ++o) out[o] += f * from[o];
    }
}

template <class S> void split(const Job<S>& job, const S* __restrict row, S* __restrict phases) {
    const int64_t stride = job.inner_width / job.down + 1;
    for (int p = 0; p < job.down; ++p)
        for (int64_t i = p, o = 0; i < job.inner_width; i += job.down, ++o) phases[p * stride + o] = row[i];
}

template <class T, class S> class Plane {
  public:
    explicit Plane(const Job<S>& job)
        : job_(job), kept_(int64_t(job.fu_y.size()) / job.up + 2), rows_(kept_ * job.inner_width), present_(kept_, -1),
          source_(job.width), inner_(job.inner_width), phases_((job.inner_width / job.down + 1) * job.down),
          length_(job.separable ? job.out_width : int64_t(phases_.size())), window_(job.kd_y * length_),
          filled_(job.kd_y, -1), out_(job.out_width) {}

    void run(const T* x, S bias, T* y) {
        std::fill(present_.begin(), present_.end(), int64_t(-1));
        std::fill(filled_.begin(), filled_.end(), int64_t(-1));
        for (int64_t o = 0; o < job_.out_height; ++o) {
            std::fill(out_.begin(), out_.end(), S(0));
            for (int k = 0; k < job_.kd_y; ++k) {
                const S* row = inner(x, bias, o * job_.down + k);
                if (job_.separable) {
                    const S f = job_.fd[job_.kd_x + k];
                    for (int64_t i = 0; i < job_.out_width; ++i) out_[i] += f * row[i];
                } else {
                    shrink(job_, row, job_.fd.data() + k * job_.kd_x, out_.data(), true);
                }
            }
            narrow(out_.data(), y + o * job_.out_width, job_.out_width);
        }
    }

  private:
    // Inner row i as the downsampling filter wants it: filtered horizontally where separable, else split by phase.
    const S* inner(const T* x, S bias, int64_t i) {
        const int64_t slot = i % job_.kd_y;
        S* to = window_.data() + slot * length_;
        if (filled_[slot] == i) return to;
        filled_[slot] = i;
        const Reach t = job_.along[i];
        S* __restrict v = inner_.data();
        std::fill(v, v + job_.inner_width, S(0));
        for (int m = 0; m < t.count; ++m) {
            const S f = job_.fu_y[t.tap + m * job_.up];
            const S* __restrict from = upsampled(x, bias, t.first + m);
            for (int64_t j = 0; j < job_.inner_width; ++j) v[j] += f * from[j];
        }
        const S gain = job_.gain, slope = job_.slope, clamp = job_.clamp;
        for (int64_t j = 0; j < job_.inner_width; ++j) v[j] = (v[j] < 0 ? v[j] * slope : v[j]) * gain;
        if (clamp >= 0)
            for (int64_t j = 0; j < job_.inner_width; ++j) v[j] = v[j] < -clamp ? -clamp : v[j] > clamp ? clamp : v[j];
        S* phases = job_.separable ? phases_.data() : to;
        split(job_, inner_.data(), phases);
        if (job_.separable) shrink(job_, phases, job_.fd.data(), to, false);
        return to;
    }

    // Input row r with its bias, upsampled horizontally.
    const S* upsampled(const T* x, S bias, int64_t r) {
        const int64_t slot = r % kept_;
        S* __restrict to = rows_.data() + slot * job_.inner_width;
        if (present_[slot] == r) return to;
        present_[slot] = r;
        const T* from = x + r * job_.width;
        widen(from, source_.data(), job_.width);
        for (int64_t i = 0; i < job_.width; ++i) source_[i] += bias;
        const S* __restrict source = source_.data();
        for (int64_t j = 0; j < job_.inner_width; ++j) {
            const Reach t = job_.across[j];
            S sum = 0;
            for (int m = 0; m < t.count; ++m) sum += job_.fu_x[t.tap + m * job_.up] * source[t.first + m];
            to[j] = sum;
        }
        return to;
    }

    const Job<S>& job_;
    int64_t kept_;
    std::vector<S> rows_;
    std::vector<int64_t> present_;
    std::vector<S> source_, inner_, phases_;
    int64_t length_;
    std::vector<S> window_;
    std::vector<int64_t> filled_;
    std::vector<S> out_;
};

template <class S> std::vector<S> taps(const float* f, int64_t count, bool flip, float gain) {
    std::vector<S> result(count);
    for (int64_t i = 0; i < count; ++i)
        result[i] = S(f[flip ? i : count - 1 - i] * gain);  // rounded as the reference rounds it
    return result;
}

template <class S> std::vector<S> joined(std::vector<S> a, const std::vector<S>& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

}  // namespace
}  // namespace latentedit

using namespace latentedit;

// Contiguous planes. fu: [ku] for both axes; fd: [kd] for both axes if `separable`, else [kd, kd].
LE_API int le_filtered_lrelu(int dtype, const void* x, const float* fu, const float* fd, const void* bias, void* y,
                             int64_t images, int64_t channels, int64_t height, int64_t width, int64_t out_height,
                             int64_t out_width, int ku, int kd, int separable, int up, int down, int64_t pad_x0,
                             int64_t pad_x1, int64_t pad_y0, int64_t pad_y1, double gain, double slope, double clamp,
                             int flip, int64_t threads) {
    const bool known = with_dtype(dtype, [&](auto* p) {
        using T = std::remove_pointer_t<decltype(p)>;
        using S = Arith<T>;
        Job<S> job{height,
                   width,
                   height * up + pad_y0 + pad_y1 - ku + 1,
                   width * up + pad_x0 + pad_x1 - ku + 1,
                   out_height,
                   out_width,
                   up,
                   down,
                   kd,
                   kd,
                   {},
                   {},
                   {},
                   separable != 0,
                   {},
                   {},
                   S(gain),
                   S(slope),
                   S(clamp)};
        job.fu_x = job.fu_y = taps<S>(fu, ku, flip, float(up));
        job.fd = taps<S>(fd, separable ? kd : int64_t(kd) * kd, flip, 1.0f);
        if (separable) job.fd = joined(job.fd, job.fd);
        job.across = reach(width, job.inner_width, up, pad_x0, ku);
        job.along = reach(height, job.inner_height, up, pad_y0, ku);
        const T* in = static_cast<const T*>(x);
        const T* b = static_cast<const T*>(bias);
        T* out = static_cast<T*>(y);
        parallel(images * channels, 1, int(threads), [&](int64_t begin, int64_t end, int) {
            Plane<T, S> plane(job);
            for (int64_t i = begin; i < end; ++i)
                plane.run(in + i * height * width, b ? S(load(b[i % channels])) : S(0),
                          out + i * out_height * out_width);
        });
    });
    return known ? 0 : 1;
}
