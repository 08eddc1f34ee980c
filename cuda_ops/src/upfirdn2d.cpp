// upfirdn2d on the CPU, optionally followed by an epilogue or by adding another image.
//
// Rows are walked from end to end, so that memory streams; what the taps read again lies in the L2 cache. A chunk of an
// output row is filtered vertically into a buffer in the L1 cache, and from there horizontally to its place.
#include <numeric>

#include "epilogue.h"
#include "resampling.h"

namespace latentedit {
namespace {

// Out of line, because compilers interchange the loops around it to gather from many rows at once, which is slow.
template <class T, class S> __attribute__((noinline)) void accumulate(S k, const T* __restrict from, S* __restrict to, int64_t n) {
    for (int64_t i = 0; i < n; ++i) to[i] += k * load(from[i]);
}

// The horizontal pass over one chunk: `in` begins at input column chunk.lo, `out` at output column chunk.x0.
template <class S> struct Across {
    const Job& job;
    const Chunk& chunk;
    const S* in;
    const double* f;
    S* out;
    bool add;  // to what is there

    void run() const {
        const int divisor = std::gcd(job.up_x, job.down_x), step_out = job.up_x / divisor, step_in = job.down_x / divisor;
        if (job.inner > 1 && (step_out > 1 || step_in > 1)) return pixels(chunk.x0, chunk.x1);
        const int64_t begin = std::clamp(job.inside0, chunk.x0, chunk.x1), end = std::clamp(job.inside1, begin, chunk.x1);
        for (int64_t x = chunk.x0; x < begin; ++x) pixel(x);
        for (int64_t x = end; x < chunk.x1; ++x) pixel(x);
        if (begin == end) return;
        const int taps = job.across[begin].count;
        if (taps == 4 && step_out == 1 && step_in == 1 && !add) blur(begin, end);
        else if (step_out == 2 && step_in == 1 && taps == 2 && end - begin > 1 && job.across[begin + 1].count == 2 && !add) enlarge(begin, end);
        else if (taps == 4 && step_out == 1 && step_in == 2 && !add) shrink(begin, end);
        else general(begin, end, step_out, step_in);
    }

  private:
    const S* source(int64_t x) const { return in + (job.across[x].first - chunk.lo) * job.inner; }
    S* target(int64_t x) const { return out + (x - chunk.x0) * job.inner; }
    S tap(int64_t x, int m) const { return S(f[job.across[x].tap + m * job.up_x]); }

    void pixel(int64_t x) const {
        const int64_t inner = job.inner;
        S* __restrict to = target(x);
        if (!add) std::fill(to, to + inner, S(0));
        for (int m = 0; m < job.across[x].count; ++m) accumulate<S, S>(tap(x, m), source(x) + m * inner, to, inner);
    }

    void pixels(int64_t begin, int64_t end) const {
        const int64_t inner = job.inner;
        for (int64_t x = begin; x < end; ++x) {
            const int count = add ? 0 : job.across[x].count;
            const S* __restrict a = source(x);
            S* __restrict to = target(x);
            if (count == 2) {
                const S k0 = tap(x, 0), k1 = tap(x, 1);
                for (int64_t c = 0; c < inner; ++c) to[c] = k0 * a[c] + k1 * a[c + inner];
            } else if (count == 4) {
                const S k0 = tap(x, 0), k1 = tap(x, 1), k2 = tap(x, 2), k3 = tap(x, 3);
                for (int64_t c = 0; c < inner; ++c)
                    to[c] = k0 * a[c] + k1 * a[c + inner] + k2 * a[c + 2 * inner] + k3 * a[c + 3 * inner];
            } else {
                pixel(x);
            }
        }
    }

    void blur(int64_t begin, int64_t end) const {
        const int64_t inner = job.inner, n = (end - begin) * inner;
        const S k0 = f[0], k1 = f[1], k2 = f[2], k3 = f[3];
        const S* __restrict a = source(begin);
        S* __restrict to = target(begin);
        for (int64_t i = 0; i < n; ++i) to[i] = k0 * a[i] + k1 * a[i + inner] + k2 * a[i + 2 * inner] + k3 * a[i + 3 * inner];
    }

    void enlarge(int64_t begin, int64_t end) const {
        const S a0 = tap(begin, 0), a1 = tap(begin, 1), b0 = tap(begin + 1, 0), b1 = tap(begin + 1, 1);
        const S *__restrict a = source(begin), *__restrict b = source(begin + 1);
        S* __restrict to = target(begin);
        const int64_t n = (end - begin) / 2;
        for (int64_t i = 0; i < n; ++i) {
            to[2 * i] = a0 * a[i] + a1 * a[i + 1];
            to[2 * i + 1] = b0 * b[i] + b1 * b[i + 1];
        }
        if ((end - begin) % 2) pixel(end - 1);
    }

    void shrink(int64_t begin, int64_t end) const {
        const S k0 = tap(begin, 0), k1 = tap(begin, 1), k2 = tap(begin, 2), k3 = tap(begin, 3);
        const S* __restrict a = source(begin);
        S* __restrict to = target(begin);
        for (int64_t i = 0; i < end - begin; ++i) to[i] = k0 * a[2 * i] + k1 * a[2 * i + 1] + k2 * a[2 * i + 2] + k3 * a[2 * i + 3];
    }

    // Every `step_out`-th column shares its taps, and its inputs lie `step_in` apart.
    void general(int64_t begin, int64_t end, int step_out, int step_in) const {
        for (int64_t x = begin; x < std::min(begin + step_out, end); ++x) {
            const int64_t length = (end - x + step_out - 1) / step_out * job.inner;
            S* __restrict to = target(x);
            if (!add) for (int64_t i = 0; i < length; ++i) to[i * step_out] = 0;
            for (int m = 0; m < job.across[x].count; ++m) {
                const S k = tap(x, m);
                const S* __restrict a = source(x) + m * job.inner;
                if (step_out == 1 && step_in == 1) for (int64_t i = 0; i < length; ++i) to[i] += k * a[i];
                else for (int64_t i = 0; i < length; ++i) to[i * step_out] += k * a[i * step_in];
            }
        }
    }
};

// to = sum over m < count of f[m * step] * rows[m]
template <class T, class S> void combine(const T* const* rows, const double* f, int step, int count, S* __restrict to, int64_t n) {
    if (count == 4) {
        const S k0 = f[0], k1 = f[step], k2 = f[2 * step], k3 = f[3 * step];
        const T *__restrict a = rows[0], *__restrict b = rows[1], *__restrict c = rows[2], *__restrict d = rows[3];
        for (int64_t i = 0; i < n; ++i) to[i] = k0 * load(a[i]) + k1 * load(b[i]) + k2 * load(c[i]) + k3 * load(d[i]);
    } else if (count == 2) {
        const S k0 = f[0], k1 = f[step];
        const T *__restrict a = rows[0], *__restrict b = rows[1];
        for (int64_t i = 0; i < n; ++i) to[i] = k0 * load(a[i]) + k1 * load(b[i]);
    } else {
        std::fill(to, to + n, S(0));
        for (int m = 0; m < count; ++m) accumulate<T, S>(S(f[m * step]), rows[m], to, n);
    }
}

// Makes output rows chunk by chunk; holds the buffers of one thread.
template <class T> class Rows {
    using S = Arith<T>;
    static constexpr bool direct = !std::is_same_v<T, float16>;  // its conversions are not vectorised inside of a loop
    using Read = std::conditional_t<direct, T, S>;

  public:
    explicit Rows(const Job& job) : job_(job), size_(job.widest * job.inner), vertical_(size_) {
        for (const Taps& t : job.along) deepest_ = std::max<int64_t>(deepest_, t.count);
        rows_.resize(deepest_);
        if (!direct || !job.separable) wide_.resize(deepest_ * size_);
    }

    void start(const T* image, int64_t y) {
        taps_ = job_.along[y];
        row_ = image + taps_.first * job_.width * job_.inner;
        ready_ = 0;
    }

    // The next chunk of the row, from left to right.
    void chunk(const Chunk& chunk, S* out) {
        if (!job_.separable) return every_row(chunk, out);
        S* to = vertical_.data();
        if (chunk.lo < chunk.hi) {
            const int64_t kept = std::max<int64_t>(ready_ - chunk.lo, 0) * job_.inner, n = (chunk.hi - chunk.lo) * job_.inner;
            if (kept) std::memmove(to, to + (chunk.lo - lo_) * job_.inner, kept * sizeof(S));
            filtered(chunk.lo * job_.inner + kept, to + kept, n - kept);
            lo_ = chunk.lo, ready_ = chunk.hi;
        }
        Across<S>{job_, chunk, to, job_.fx.data(), out, false}.run();
    }

  private:
    void filtered(int64_t at, S* to, int64_t n) {
        for (int m = 0; m < taps_.count; ++m) {
            if constexpr (direct) rows_[m] = input(m) + at;
            else rows_[m] = widened(m, at, n);
        }
        combine<Read, S>(rows_.data(), job_.fy.data() + taps_.tap, job_.up_y, taps_.count, to, n);
    }

    void every_row(const Chunk& chunk, S* out) {
        const int64_t at = chunk.lo * job_.inner, n = (chunk.hi - chunk.lo) * job_.inner;
        if (taps_.count == 0) std::fill(out, out + (chunk.x1 - chunk.x0) * job_.inner, S(0));
        for (int m = 0; m < taps_.count; ++m) {
            const double* f = job_.f.data() + (taps_.tap + m * job_.up_y) * job_.kx;
            Across<S>{job_, chunk, widened(m, at, n), f, out, m > 0}.run();
        }
    }

    const T* input(int m) const { return row_ + m * job_.width * job_.inner; }

    const S* widened(int m, int64_t at, int64_t n) {
        if constexpr (std::is_same_v<T, S>) return input(m) + at;
        else return widen(input(m) + at, wide_.data() + m * size_, n), wide_.data() + m * size_;
    }

    const Job& job_;
    int64_t size_, deepest_ = 1;
    std::vector<S> vertical_, wide_;  // columns [lo_, ready_) filtered vertically; rows in the arithmetic type
    std::vector<const Read*> rows_;
    Taps taps_{};
    const T* row_ = nullptr;
    int64_t lo_ = 0, ready_ = 0;
};

template <class T> void filter(const Job& job, const T* x, const T* add, T* y, int64_t channels, const Epilogue* e, int threads) {
    using S = Arith<T>;
    const int64_t row = job.out_width * job.inner, planes = job.inner == 1 ? channels : 1;
    const int64_t share = job.images * job.out_height / (4 * threads) + 1, grain = std::max(16384 / row + 1, std::min<int64_t>(share, 64));
    expect_writes(y, job.images * job.out_height * row * int64_t(sizeof(T)));
    parallel(job.images * job.out_height, grain, threads, [&](int64_t begin, int64_t end, int) {
        Rows<T> rows(job);
        std::vector<S> buffer((job.chunks[0].x1 - job.chunks[0].x0) * job.inner);
        EpilogueRow epilogue(nullptr, 0, 0, 0);
        for (int64_t i = begin, current = -1; i < end; ++i) {
            const int64_t image = i / job.out_height, oy = i % job.out_height;
            if (e && current != image / planes) epilogue = EpilogueRow(e, current = image / planes, channels, job.out_width);
            rows.start(x + image * job.height * job.width * job.inner, oy);
            for (const Chunk& chunk : job.chunks) {
                const int64_t at = i * row + chunk.x0 * job.inner, n = (chunk.x1 - chunk.x0) * job.inner;
                S* out = buffer.data();
                if constexpr (std::is_same_v<T, S>) out = y + at;
                rows.chunk(chunk, out);
                if constexpr (std::is_same_v<S, float>) {
                    if (job.inner > 1) epilogue.pixels(out, oy, chunk.x0, chunk.x1 - chunk.x0);
                    else epilogue.plane(out, oy, chunk.x0, chunk.x1 - chunk.x0, image % planes);
                }
                if (add) for (int64_t j = 0; j < n; ++j) out[j] += load(add[at + j]);
                if constexpr (!std::is_same_v<T, S>) narrow(out, y + at, n);
            }
        }
    });
}

}  // namespace
}  // namespace latentedit

using namespace latentedit;

// f: [ky, kx] float32, or [kx] and [ky] in a row where `separable`; correlation order if `flip`.
LE_API int le_upfirdn2d(int dtype, const void* x, const float* f, const void* add, void* y, int64_t n, int64_t channels,
                        int64_t height, int64_t width, int64_t out_height, int64_t out_width, int channels_last, int kx,
                        int ky, int separable, int up_x, int up_y, int down_x, int down_y, int pad_x, int pad_y, int flip,
                        float gain, const Epilogue* epilogue, int64_t threads) {
    if (n * channels * out_height * out_width == 0) return 0;
    if (epilogue && epilogue->product) return 1;
    Job job{};
    job.images = channels_last ? n : n * channels;
    job.inner = channels_last ? channels : 1;
    job.height = height, job.width = width, job.out_height = out_height, job.out_width = out_width;
    job.up_x = up_x, job.down_x = down_x, job.kx = kx, job.up_y = up_y;
    set_filter(job, f, kx, ky, separable, dtype == F64, flip, gain);
    set_columns(job, pad_x, kx);
    job.along = plan(height, out_height, up_y, down_y, pad_y, ky);
    return with_dtype(dtype, [&](auto* p) {
        using T = std::remove_pointer_t<decltype(p)>;
        filter<T>(job, static_cast<const T*>(x), static_cast<const T*>(add), static_cast<T*>(y), channels, epilogue, int(threads));
    }) ? 0 : 1;
}
