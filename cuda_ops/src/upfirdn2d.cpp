// upfirdn2d on the CPU, optionally followed by an epilogue or by adding another image.
//
// Rows are walked from end to end, so that memory streams; what the vertical taps read again lies in the L2 cache. Rows
// of the input are filtered horizontally once and kept, save for the shapes of strips.h, which filter vertically first.
#include <numeric>

#include "epilogue.h"
#include "resampling.h"
#include "strips.h"

namespace latentedit {
namespace {

// Out of line, because compilers interchange the loops around it to gather from many rows at once, which is slow.
template <class S>
__attribute__((noinline)) void accumulate(S k, const S* __restrict from, S* __restrict to, int64_t n) {
    for (int64_t i = 0; i < n; ++i) to[i] += k * from[i];
}

// Out of line as well: inlined, GCC 12.2 on a machine with AVX2 alone left rows unwritten where steps were odd.
template <class S>
__attribute__((noinline)) void spread(S k, const S* __restrict from, int step_in, S* __restrict to, int step_out,
                                      int64_t n) {
    for (int64_t i = 0; i < n; ++i) to[i * step_out] += k * from[i * step_in];
}

// The horizontal pass over one chunk of a row; `in` is the whole row, `out` begins at output column chunk.x0.
template <class S> struct Across {
    const Job& job;
    const Chunk& chunk;
    const S* in;
    const double* f;
    S* out;
    bool add;  // to what is there

    void run() const {
        const int divisor = std::gcd(job.up_x, job.down_x), step_out = job.up_x / divisor,
                  step_in = job.down_x / divisor;
        if (job.inner > 1 && (step_out > 1 || step_in > 1)) return pixels(chunk.x0, chunk.x1);
        const int64_t begin = std::clamp(job.inside0, chunk.x0, chunk.x1),
                      end = std::clamp(job.inside1, begin, chunk.x1);
        for (int64_t x = chunk.x0; x < begin; ++x) pixel(x);
        for (int64_t x = end; x < chunk.x1; ++x) pixel(x);
        if (begin == end) return;
        const int taps = job.across[begin].count;
        if (taps == 4 && step_out == 1 && step_in == 1 && !add) blur(begin, end);
        else if (step_out == 2 && step_in == 1 && taps == 2 && end - begin > 1 && job.across[begin + 1].count == 2 &&
                 !add)
            enlarge(begin, end);
        else if (taps == 4 && step_out == 1 && step_in == 2 && !add) shrink(begin, end);
        else general(begin, end, step_out, step_in);
    }

  private:
    const S* source(int64_t x) const { return in + job.across[x].first * job.inner; }
    S* target(int64_t x) const { return out + (x - chunk.x0) * job.inner; }
    S tap(int64_t x, int m) const { return S(f[job.across[x].tap + m * job.up_x]); }

    void pixel(int64_t x) const {
        const int64_t inner = job.inner;
        S* __restrict to = target(x);
        if (!add) std::fill(to, to + inner, S(0));
        for (int m = 0; m < job.across[x].count; ++m) accumulate(tap(x, m), source(x) + m * inner, to, inner);
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
        for (int64_t i = 0; i < n; ++i)
            to[i] = k0 * a[i] + k1 * a[i + inner] + k2 * a[i + 2 * inner] + k3 * a[i + 3 * inner];
    }

    void enlarge(int64_t begin, int64_t end) const {
        const S a0 = tap(begin, 0), a1 = tap(begin, 1), b0 = tap(begin + 1, 0), b1 = tap(begin + 1, 1);
        const S* __restrict a = source(begin);
        const S* __restrict b = source(begin + 1);
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
        for (int64_t i = 0; i < end - begin; ++i)
            to[i] = k0 * a[2 * i] + k1 * a[2 * i + 1] + k2 * a[2 * i + 2] + k3 * a[2 * i + 3];
    }

    // Every `step_out`-th column shares its taps, and its inputs lie `step_in` apart.
    void general(int64_t begin, int64_t end, int step_out, int step_in) const {
        for (int64_t x = begin; x < std::min(begin + step_out, end); ++x) {
            const int64_t length = (end - x + step_out - 1) / step_out * job.inner;
            S* __restrict to = target(x);
            if (!add)
                for (int64_t i = 0; i < length; ++i) to[i * step_out] = 0;
            for (int m = 0; m < job.across[x].count; ++m) {
                const S k = tap(x, m);
                const S* __restrict a = source(x) + m * job.inner;
                if (step_out == 1 && step_in == 1)
                    for (int64_t i = 0; i < length; ++i) to[i] += k * a[i];
                else spread(k, a, step_in, to, step_out, length);
            }
        }
    }
};

// to[i] = sum over m < count of f[m * step] * rows[m][at + i]
template <class S>
void combine(const S* const* rows, int64_t at, const double* f, int step, int count, S* __restrict to, int64_t n) {
    if (count == 4) {
        const S k0 = f[0], k1 = f[step], k2 = f[2 * step], k3 = f[3 * step];
        const S* __restrict a = rows[0] + at;
        const S* __restrict b = rows[1] + at;
        const S* __restrict c = rows[2] + at;
        const S* __restrict d = rows[3] + at;
        for (int64_t i = 0; i < n; ++i) to[i] = k0 * a[i] + k1 * b[i] + k2 * c[i] + k3 * d[i];
    } else if (count == 2) {
        const S k0 = f[0], k1 = f[step];
        const S* __restrict a = rows[0] + at;
        const S* __restrict b = rows[1] + at;
        for (int64_t i = 0; i < n; ++i) to[i] = k0 * a[i] + k1 * b[i];
    } else {
        std::fill(to, to + n, S(0));
        for (int m = 0; m < count; ++m) accumulate(S(f[m * step]), rows[m] + at, to, n);
    }
}

// Makes output rows from top to bottom, each chunk by chunk from left to right; holds the buffers of one thread.
template <class T> class Rows {
    using S = Arith<T>;

  public:
    Rows(const Job& job, Strip shape) : job_(job), shape_(shape), length_(job.out_width * job.inner) {
        if (shape != Strip::none) return;
        int deepest = 1;
        for (const Taps& t : job.along) deepest = std::max(deepest, t.count);
        held_.assign(deepest, -1);
        rows_.resize(deepest);
        if (job.separable) kept_.resize(deepest * length_);
        if (!std::is_same_v<T, S>) wide_.resize(job.width * job.inner);
    }

    void start(const T* image, int64_t y) {
        if (image != image_) std::fill(held_.begin(), held_.end(), int64_t(-1));
        image_ = image;
        taps_ = job_.along[y];
        if (shape_ != Strip::none) return reach();
        if (job_.separable)
            for (int m = 0; m < taps_.count; ++m) rows_[m] = filtered(taps_.first + m);
    }

    void chunk(const Chunk& chunk, S* out) {
        if constexpr (std::is_same_v<S, float>) {
            if (shape_ == Strip::blur) return strip<Strip::blur>(job_, reach_, chunk, out);
            if (shape_ == Strip::up) return strip<Strip::up>(job_, reach_, chunk, out);
            if (shape_ == Strip::down) return strip<Strip::down>(job_, reach_, chunk, out);
        }
        const int64_t at = chunk.x0 * job_.inner, n = (chunk.x1 - chunk.x0) * job_.inner;
        if (job_.separable)
            return combine(rows_.data(), at, job_.fy.data() + taps_.tap, job_.up_y, taps_.count, out, n);
        if (taps_.count == 0) std::fill(out, out + n, S(0));
        for (int m = 0; m < taps_.count; ++m) {
            const double* f = job_.f.data() + (taps_.tap + m * job_.up_y) * job_.kx;
            Across<S>{job_, chunk, widened(taps_.first + m), f, out, m > 0}.run();
        }
    }

  private:
    // Rows beyond the image's edge are rows of zeros.
    void reach() {
        const int up = job_.up_y, full = 4 / up, before = (taps_.tap - taps_.tap % up) / up;
        if (taps_.count < full) zeros_.resize(job_.width * job_.inner);
        for (int m = 0; m < 4; ++m) {
            const bool there = m >= before && m < before + taps_.count;
            reach_.rows[m] = there ? input(taps_.first + m - before) : zeros_.data();
            reach_.f[m] = there ? float(job_.fy[taps_.tap + (m - before) * up]) : 0.0f;
        }
        reach_.ahead = input(taps_.first + taps_.count);
    }

    // An input row after the horizontal pass; each is made once.
    const S* filtered(int64_t row) {
        const int64_t slot = row % int64_t(held_.size());
        S* to = kept_.data() + slot * length_;
        if (held_[slot] == row) return to;
        held_[slot] = row;
        const S* from = widened(row);
        for (const Chunk& chunk : job_.chunks)
            Across<S>{job_, chunk, from, job_.fx.data(), to + chunk.x0 * job_.inner, false}.run();
        return to;
    }

    const T* input(int64_t row) const { return image_ + row * job_.width * job_.inner; }

    const S* widened(int64_t row) {
        if constexpr (std::is_same_v<T, S>) return input(row);
        else return widen(input(row), wide_.data(), job_.width * job_.inner), wide_.data();
    }

    const Job& job_;
    Strip shape_;
    int64_t length_;
    std::vector<S> kept_, wide_;  // filtered rows; one input row in the arithmetic type
    std::vector<int64_t> held_;   // which row each slot of `kept_` holds
    std::vector<const S*> rows_;
    std::vector<T> zeros_;
    Reach<T> reach_{};
    Taps taps_{};
    const T* image_ = nullptr;
};

template <class T>
void filter(const Job& job, const T* x, const T* add, T* y, int64_t channels, Strip shape, const Epilogue* e,
            int threads) {
    using S = Arith<T>;
    const int64_t row = job.out_width * job.inner, planes = job.inner == 1 ? channels : 1,
                  all = job.images * job.out_height;
    const int64_t grain = std::max(16384 / row + 1, std::min<int64_t>(all / (4 * threads) + 1, 64));
    expect_writes(y, all * row * int64_t(sizeof(T)));
    parallel(all, grain, threads, [&](int64_t begin, int64_t end, int) {
        Rows<T> rows(job, shape);
        std::vector<S> buffer(std::is_same_v<T, S> ? 0 : (job.chunks[0].x1 - job.chunks[0].x0) * job.inner);
        EpilogueRow epilogue(nullptr, 0, 0, 0);
        for (int64_t i = begin, current = -1; i < end; ++i) {
            const int64_t image = i / job.out_height, oy = i % job.out_height;
            if (e && current != image / planes)
                epilogue = EpilogueRow(e, current = image / planes, channels, job.out_width);
            rows.start(x + image * job.height * job.width * job.inner, oy);
            for (const Chunk& chunk : job.chunks) {
                const int64_t at = i * row + chunk.x0 * job.inner, count = chunk.x1 - chunk.x0, n = count * job.inner;
                S* out = buffer.data();
                if constexpr (std::is_same_v<T, S>) out = y + at;
                rows.chunk(chunk, out);
                if constexpr (std::is_same_v<S, float>) {
                    if (job.inner > 1) epilogue.pixels(out, oy, chunk.x0, count);
                    else epilogue.plane(out, oy, chunk.x0, count, image % planes);
                }
                if (add)
                    for (int64_t j = 0; j < n; ++j) out[j] += load(add[at + j]);
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
                        int ky, int separable, int up_x, int up_y, int down_x, int down_y, int pad_x, int pad_y,
                        int flip, float gain, const Epilogue* epilogue, int64_t threads) {
    if (n * channels * out_height * out_width == 0) return 0;
    if (epilogue && epilogue->product) return 1;
    Job job{};
    job.images = channels_last ? n : n * channels;
    job.inner = channels_last ? channels : 1;
    job.height = height, job.width = width, job.out_height = out_height, job.out_width = out_width;
    job.up_x = up_x, job.down_x = down_x, job.kx = kx, job.up_y = up_y, job.pad_x = pad_x;
    set_filter(job, f, kx, ky, separable, dtype == F64, flip, gain);
    const Strip shape = dtype == F64 ? Strip::none : strip_of(job, ky, up_y, down_y);
    set_columns(job, std::max<int64_t>(shape == Strip::none ? 8 : 32, kChunk / job.inner));
    job.along = plan(height, out_height, up_y, down_y, pad_y, ky);
    const bool known = with_dtype(dtype, [&](auto* p) {
        using T = std::remove_pointer_t<decltype(p)>;
        filter<T>(job, static_cast<const T*>(x), static_cast<const T*>(add), static_cast<T*>(y), channels, shape,
                  epilogue, int(threads));
    });
    return known ? 0 : 1;
}
