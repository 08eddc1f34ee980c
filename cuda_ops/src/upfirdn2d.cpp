// upfirdn2d on the CPU, optionally followed by an epilogue or by adding another image.
//
// A row of channels-last pixels is `width * inner` contiguous numbers with inner = C; a row of an NCHW plane is the
// same with inner = 1. The vertical pass of a separable filter is then one loop over contiguous memory for both.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "epilogue.h"

namespace latentedit {
namespace {

struct Taps { int first, tap, count; };  // out = sum over m < count of f[tap + m * up] * in[first + m]

// Every rank-1 filter is the outer product of its row and column sums over its sum.
bool factorise(const float* f, int kx, int ky, std::vector<double>& fx, std::vector<double>& fy) {
    fx.assign(kx, 0.0);
    fy.assign(ky, 0.0);
    double sum = 0, largest = 0;
    for (int j = 0; j < ky; ++j)
        for (int i = 0; i < kx; ++i) {
            fx[i] += f[j * kx + i];
            fy[j] += f[j * kx + i];
            sum += f[j * kx + i];
            largest = std::fmax(largest, std::fabs(double(f[j * kx + i])));
        }
    if (std::fabs(sum) < 1e-3 * largest || kx * ky == 1) return false;
    for (auto& v : fx) v /= sum;
    for (int j = 0; j < ky; ++j)
        for (int i = 0; i < kx; ++i)
            if (!(std::fabs(fy[j] * fx[i] - f[j * kx + i]) <= 2e-7 * largest)) return false;
    return true;
}

std::vector<Taps> plan(int64_t in, int64_t out, int up, int down, int pad, int taps) {
    std::vector<Taps> steps(out);
    for (int64_t o = 0; o < out; ++o) {
        int64_t tap = pad - o * down;  // of input pixel 0; tap of pixel i is tap + i * up
        int64_t first = tap >= 0 ? 0 : (-tap + up - 1) / up;
        tap += first * up;
        int64_t count = tap < taps ? (taps - tap + up - 1) / up : 0;
        if (first + count > in) count = in - first;
        steps[o] = {int(first), int(tap), int(count > 0 ? count : 0)};
    }
    return steps;
}

constexpr int64_t kBlock = 2048;  // numbers in a block of an output row

// Output columns [x0, x1) and the input columns [lo, hi) that they reach; small enough to stay in the L1 cache.
struct Block { int64_t x0, x1, lo, hi; };

struct Job {
    int64_t images, height, width, inner, out_height, out_width;
    int up_x, down_x, kx, up_y;
    std::vector<double> fx, fy, f;  // correlation order, gain included; fx and fy only where separable
    bool separable;
    std::vector<Taps> across, along;
    int64_t inside0, inside1;  // output columns that all taps reach
    std::vector<Block> blocks;
    int64_t widest, deepest;  // input columns of a block, rows of an output row
};

// `in` begins at column `block.lo`, `out` at `block.x0`.
template <class S>
void across(const Job& job, const Block& block, const S* __restrict in, const double* f, S* __restrict out, bool add) {
    const int64_t inner = job.inner;
    const auto source = [&](int64_t x) { return in + (job.across[x].first - block.lo) * inner; };
    const auto general = [&](int64_t x) {
        const Taps t = job.across[x];
        S* __restrict to = out + (x - block.x0) * inner;
        if (!add) for (int64_t c = 0; c < inner; ++c) to[c] = 0;
        for (int m = 0; m < t.count; ++m) {
            const S k = f[t.tap + m * job.up_x];
            const S* __restrict from = source(x) + m * inner;
            for (int64_t c = 0; c < inner; ++c) to[c] += k * from[c];
        }
    };
    const int divisor = std::gcd(job.up_x, job.down_x), step_out = job.up_x / divisor, step_in = job.down_x / divisor;
    const bool contiguous = step_out == 1 && step_in == 1;
    if (inner > 1 && !contiguous) {
        for (int64_t x = block.x0; x < block.x1; ++x) {
            const Taps t = job.across[x];
            const S* __restrict a = source(x);
            S* __restrict to = out + (x - block.x0) * inner;
            if (t.count == 2 && !add) {
                const S k0 = f[t.tap], k1 = f[t.tap + job.up_x];
                for (int64_t c = 0; c < inner; ++c) to[c] = k0 * a[c] + k1 * a[c + inner];
            } else if (t.count == 4 && !add) {
                const S k0 = f[t.tap], k1 = f[t.tap + job.up_x], k2 = f[t.tap + 2 * job.up_x], k3 = f[t.tap + 3 * job.up_x];
                for (int64_t c = 0; c < inner; ++c)
                    to[c] = k0 * a[c] + k1 * a[c + inner] + k2 * a[c + 2 * inner] + k3 * a[c + 3 * inner];
            } else {
                general(x);
            }
        }
        return;
    }
    const int64_t begin = std::min(std::max(job.inside0, block.x0), block.x1);
    const int64_t end = std::max(std::min(job.inside1, block.x1), begin), n = end - begin;
    for (int64_t x = block.x0; x < begin; ++x) general(x);
    for (int64_t x = end; x < block.x1; ++x) general(x);
    if (n == 0) return;
    const Taps t = job.across[begin];
    S* __restrict to = out + (begin - block.x0) * inner;
    const S* __restrict from = source(begin);
    if (contiguous && t.count == 4 && !add) {
        const S k0 = f[0], k1 = f[1], k2 = f[2], k3 = f[3];
        for (int64_t i = 0; i < n * inner; ++i)
            to[i] = k0 * from[i] + k1 * from[i + inner] + k2 * from[i + 2 * inner] + k3 * from[i + 3 * inner];
    } else if (step_out == 2 && step_in == 1 && n > 1 && t.count == 2 && job.across[begin + 1].count == 2 && !add) {
        const int tap = job.across[begin + 1].tap;
        const S a0 = f[t.tap], a1 = f[t.tap + job.up_x], b0 = f[tap], b1 = f[tap + job.up_x];
        const S* __restrict odd = source(begin + 1);
        for (int64_t i = 0; i < n / 2; ++i) {
            to[2 * i] = a0 * from[i] + a1 * from[i + 1];
            to[2 * i + 1] = b0 * odd[i] + b1 * odd[i + 1];
        }
        if (n % 2) general(end - 1);
    } else if (step_out == 1 && step_in == 2 && t.count == 4 && !add) {
        const S k0 = f[t.tap], k1 = f[t.tap + job.up_x], k2 = f[t.tap + 2 * job.up_x], k3 = f[t.tap + 3 * job.up_x];
        for (int64_t i = 0; i < n; ++i)
            to[i] = k0 * from[2 * i] + k1 * from[2 * i + 1] + k2 * from[2 * i + 2] + k3 * from[2 * i + 3];
    } else {
        for (int64_t x = begin; x < begin + std::min<int64_t>(step_out, n); ++x) {
            const int64_t length = (end - x + step_out - 1) / step_out * inner;
            S* __restrict target = out + (x - block.x0) * inner;
            if (!add) for (int64_t i = 0; i < length; ++i) target[i * step_out] = 0;
            for (int m = 0; m < job.across[x].count; ++m) {
                const S k = f[job.across[x].tap + m * job.up_x];
                const S* __restrict a = source(x) + m * inner;
                if (contiguous) for (int64_t i = 0; i < length; ++i) target[i] += k * a[i];
                else for (int64_t i = 0; i < length; ++i) target[i * step_out] += k * a[i * step_in];
            }
        }
    }
}

// to = sum over m < count of f[m * u] * rows[m]
template <class S> void combine(const S* const* rows, const double* f, int u, int count, S* __restrict to, int64_t length) {
    if (count == 4) {
        const S k0 = f[0], k1 = f[u], k2 = f[2 * u], k3 = f[3 * u];
        const S *__restrict a = rows[0], *__restrict b = rows[1], *__restrict c = rows[2], *__restrict d = rows[3];
        for (int64_t i = 0; i < length; ++i) to[i] = k0 * a[i] + k1 * b[i] + k2 * c[i] + k3 * d[i];
    } else if (count == 2) {
        const S k0 = f[0], k1 = f[u];
        const S *__restrict a = rows[0], *__restrict b = rows[1];
        for (int64_t i = 0; i < length; ++i) to[i] = k0 * a[i] + k1 * b[i];
    } else {
        for (int64_t i = 0; i < length; ++i) to[i] = 0;
        for (int m = 0; m < count; ++m) {
            const S k = f[m * u];
            const S* __restrict row = rows[m];
            for (int64_t i = 0; i < length; ++i) to[i] += k * row[i];
        }
    }
}

// One block of columns, from output row to output row of an image: a separable filter keeps the horizontally filtered
// input rows that the next output row needs again.
template <class T> class Column {
  public:
    using S = Arith<T>;
    explicit Column(const Job& job)
        : job_(job), size_((job.blocks[0].x1 - job.blocks[0].x0) * job.inner), read_(job.widest * job.inner + 1),
          kept_(job.separable ? job.deepest * size_ : 0), held_(job.deepest, -1), rows_(job.deepest) {}

    void start(const Block& block, const T* image) {
        block_ = &block, image_ = image;
        std::fill(held_.begin(), held_.end(), int64_t(-1));
    }

    void row(int64_t y, S* out) {
        const Taps t = job_.along[y];
        const int64_t length = (block_->x1 - block_->x0) * job_.inner;
        if (job_.separable) {
            for (int m = 0; m < t.count; ++m) rows_[m] = filtered(t.first + m);
            return combine(rows_.data(), job_.fy.data() + t.tap, job_.up_y, t.count, out, length);
        }
        if (t.count == 0) std::fill(out, out + length, S(0));
        for (int m = 0; m < t.count; ++m)
            across<S>(job_, *block_, input(t.first + m), job_.f.data() + (t.tap + m * job_.up_y) * job_.kx, out, m > 0);
    }

  private:
    const S* filtered(int64_t row) {
        const int64_t slot = row % job_.deepest;
        S* to = kept_.data() + slot * size_;
        if (held_[slot] != row) across<S>(job_, *block_, input(row), job_.fx.data(), to, false);
        held_[slot] = row;
        return to;
    }

    const S* input(int64_t row) {
        const T* from = image_ + (row * job_.width + block_->lo) * job_.inner;
        if constexpr (std::is_same_v<T, S>) return from;
        else return widen(from, read_.data(), (block_->hi - block_->lo) * job_.inner), read_.data();
    }

    const Job& job_;
    int64_t size_;
    std::vector<S> read_, kept_;
    std::vector<int64_t> held_;
    std::vector<const S*> rows_;
    const Block* block_ = nullptr;
    const T* image_ = nullptr;
};

std::vector<Block> blocks_of(const Job& job) {
    const int64_t columns = job.inner == 1 ? job.out_width : std::max<int64_t>(8, kBlock / job.inner);
    std::vector<Block> blocks;
    for (int64_t x0 = 0; x0 < job.out_width; x0 += columns) {
        Block block{x0, std::min(x0 + columns, job.out_width), job.width, 0};
        for (int64_t x = block.x0; x < block.x1; ++x) {
            const Taps t = job.across[x];
            if (t.count) block.lo = std::min<int64_t>(block.lo, t.first), block.hi = std::max<int64_t>(block.hi, t.first + t.count);
        }
        if (block.hi == 0) block.lo = 0;  // nothing but padding
        blocks.push_back(block);
    }
    return blocks;
}

template <class T> void filter(const Job& job, const T* x, const T* add, T* y, int64_t channels, const Epilogue* e, int threads) {
    using S = Arith<T>;
    const int64_t row = job.out_width * job.inner, planes = job.inner == 1 ? channels : 1;
    const int64_t share = job.images * job.out_height / (4 * threads) + 1;
    const int64_t height = std::min(job.out_height, std::max((16384 + row - 1) / row, std::min<int64_t>(share, 64)));
    const int64_t segments = (job.out_height + height - 1) / height;
    expect_writes(y, job.images * job.out_height * row * int64_t(sizeof(T)));
    parallel(job.images * segments, 1, threads, [&](int64_t begin, int64_t end, int) {
        const int64_t size = (job.blocks[0].x1 - job.blocks[0].x0) * job.inner;
        Column<T> column(job);
        std::vector<S> out(size + 1), more(add ? size : 0);
        for (int64_t i = begin; i < end; ++i) {
            const int64_t image = i / segments, first = i % segments * height, last = std::min(first + height, job.out_height);
            const EpilogueRow epilogue(std::is_same_v<S, float> ? e : nullptr, image / planes, channels, job.out_width);
            for (const Block& block : job.blocks) {
                column.start(block, x + image * job.height * job.width * job.inner);
                for (int64_t oy = first; oy < last; ++oy) {
                    column.row(oy, out.data());
                    if constexpr (std::is_same_v<S, float>) {
                        if (job.inner == 1) epilogue.plane(out.data(), oy, image % planes);
                        else epilogue.pixels(out.data(), oy, block.x0, block.x1 - block.x0);
                    }
                    const int64_t at = (image * job.out_height + oy) * row + block.x0 * job.inner, count = (block.x1 - block.x0) * job.inner;
                    if (add) {
                        widen(add + at, more.data(), count);
                        for (int64_t j = 0; j < count; ++j) out[j] += more[j];
                    }
                    narrow(out.data(), y + at, count);
                }
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
    if (separable) {
        job.fx.assign(f, f + kx);
        job.fy.assign(f + kx, f + kx + ky);
        job.separable = true;
    } else {
        job.f.assign(f, f + kx * ky);
        job.separable = dtype != F64 && factorise(f, kx, ky, job.fx, job.fy);  // exact for float64
    }
    if (!flip) {
        job.f = std::vector<double>(job.f.rbegin(), job.f.rend());
        job.fx = std::vector<double>(job.fx.rbegin(), job.fx.rend());
        job.fy = std::vector<double>(job.fy.rbegin(), job.fy.rend());
    }
    // A separable filter carries the root of the gain per axis, rounded to float32 as the reference rounds it.
    const float root = float(std::sqrt(std::fabs(double(gain))));
    for (auto& v : job.f) v = separable ? v : double(float(v) * gain);
    for (auto& v : job.fx) v = separable ? double(float(v) * root) : v;
    for (auto& v : job.fy) v = separable ? double(float(v) * (gain < 0 ? -root : root)) : v * double(gain);
    job.across = plan(width, out_width, up_x, down_x, pad_x, kx);
    job.along = plan(height, out_height, up_y, down_y, pad_y, ky);
    const auto full = [&](int64_t o) {
        const Taps t = job.across[o];
        return t.tap < up_x && t.count == (kx - t.tap + up_x - 1) / up_x;
    };
    while (job.inside0 < out_width && !full(job.inside0)) ++job.inside0;
    job.inside1 = job.inside0;
    while (job.inside1 < out_width && full(job.inside1)) ++job.inside1;
    job.blocks = blocks_of(job);
    for (const Block& block : job.blocks) job.widest = std::max(job.widest, block.hi - block.lo);
    job.deepest = 1;
    for (const Taps& taps : job.along) job.deepest = std::max<int64_t>(job.deepest, taps.count);
    return with_dtype(dtype, [&](auto* p) {
        using T = std::remove_pointer_t<decltype(p)>;
        filter<T>(job, static_cast<const T*>(x), static_cast<const T*>(add), static_cast<T*>(y), channels, epilogue, int(threads));
    }) ? 0 : 1;
}
