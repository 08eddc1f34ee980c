// The gradient of MobileStyleGAN's block on the CPU, towards its input, styles and noise; see wavelet.h. Nothing
// between the input and the result is kept by the forward pass: patches compute it again while it is needed, in
// the cache.
#include "wavelet.h"

namespace latentedit {

// Mirrored by ctypes in interface.py. Sums are over parts of an image, see Cuts; any of the pointers from `noise1` on
// may be null.
struct WaveletGrad {
    const float *dy, *y;         // [N, H, W, O]: gradient and result of the block, or null where there is a head
    const float* image;          // [N, image_channels, 2H, 2W]: gradient of the image, or null
    const float *back1, *back2;  // packed transposed weights, O -> I and O -> O
    float *x, *up;               // [N, H/2, W/2, 4I]; [sums, N, 4I], of the halved styles
    float *styles1, *styles2;    // [sums, N, I], [sums, N, O]
    float *noise1, *noise2;      // [N, H, W]
    float* head;                 // [sums, N, O, kHead]
    float *z1, *d1, *z2, *d2;    // of both layers: gradient before the activation, and what the product took
};

namespace {

constexpr int kCells = kHead / kLanes;

LE_INLINE Vec sloped(Vec gradient, Vec result) { return result > 0.0f ? gradient : gradient * kSlope; }

// Sums over channels, for the gradient of noise; idle without a map.
class PixelSums {
  public:
    static int64_t size(int64_t pixels) { return pixels * kLanes; }
    PixelSums(Scratch& scratch, int64_t pixels) : lanes_(scratch.take(size(pixels))), pixels_(pixels) {}
    void start(float* map) {
        map_ = map;
        if (map) std::fill_n(lanes_, pixels_ * kLanes, 0.0f);
    }
    LE_INLINE void add(int64_t x, Vec v) const {
        if (map_) put(lanes_ + x * kLanes, at(lanes_ + x * kLanes) + v);
    }
    void finish(int64_t from, int64_t to) const {
        for (int64_t x = from; map_ && x < to; ++x) {
            float sum = 0.0f;
            for (int j = 0; j < kLanes; ++j) sum += lanes_[x * kLanes + j];
            map_[x] = sum;
        }
    }

  private:
    float *lanes_, *map_ = nullptr;
    int64_t pixels_;
};

// Takes the gradient of the second layer's modulated input: sums for the styles, then back through the first layer's
// activation.
struct ThroughFirst {
    const float *features, *scale;  // of the first layer's result, [., O]; [O]
    float* sums;                    // [O], or null for rows that belong to another band
    float* to;
    int64_t stride, O, x;
    const PixelSums& noise;
    Vec sum;
    void start(int64_t) { sum = Vec{}; }
    LE_INLINE void take(int64_t i, int64_t c, Vec v) {
        const Vec f = at(features + i * O + c);
        sum += v * f;
        const Vec z = sloped(v * at(scale + c), f);
        noise.add(x + i, z);
        put(to + i * stride + c, z);
    }
    void end(int64_t c) {
        if (sums) put(sums + c, at(sums + c) + sum);
    }
};

class PatchGrad {
  public:
    static constexpr int64_t kHalo = 4;  // columns that four convolutions reach
    static int64_t scratch(const WaveletBlock& b, int64_t width) {
        return Rows::scratch(b, width) + Ring<3>::size(width, b.outputs) + Ring<3>::size(width, b.inputs) +
               Tile::size(b.outputs) + 9 * (b.inputs + b.outputs) + PixelSums::size(width) +
               (width + kRowStep) * (b.outputs + kHead) + 2 * width * b.inputs + b.outputs * kHead;
    }
    PatchGrad(const WaveletBlock& b, const WaveletGrad& g, const Cuts& cuts, const Patch& p, Scratch& scratch)
        : b_(b), g_(g), cuts_(cuts), p_(p), width_(p.width()), from_(p.left - p.first), to_(p.right - p.first),
          rows_(b, p, scratch), second_(scratch, width_, b.outputs, b.height),
          first_(scratch, width_, b.inputs, b.height), tile_(scratch, b.outputs),
          taps1_(reversed(scratch, b.taps1, b.inputs)), taps2_(reversed(scratch, b.taps2, b.outputs)),
          noise_(scratch, width_), features_(scratch.take((width_ + kRowStep) * b.outputs)),
          cells_(scratch.take((width_ + kRowStep) * kHead)), pair_(scratch.take(2 * width_ * b.inputs)),
          head_(scratch.take(b.outputs * kHead)) {
        for (int64_t y = p.top; y < p.bottom; y += cuts.slice()) {
            std::fill_n(sums(g.up, y, 4 * b.inputs), 4 * b.inputs, 0.0f);
            std::fill_n(sums(g.styles1, y, b.inputs), b.inputs, 0.0f);
            std::fill_n(sums(g.styles2, y, b.outputs), b.outputs, 0.0f);
            if (g.head) std::fill_n(sums(g.head, y, b.outputs * kHead), b.outputs * kHead, 0.0f);
        }
        if (b.head) pack_head();
    }

    void run() {
        for (int64_t r = p_.top - 2; r < p_.bottom + 2; ++r) {
            if (inside(r)) second_layer(r);
            if (r >= p_.top && inside(r - 1)) first_layer(r - 1);
            if (r - 2 < p_.top) continue;
            const float* const rows[3] = {first_.padded(r - 3), first_.padded(r - 2), first_.padded(r - 1)};
            Plain plain{pair_ + (r % 2 * width_ + from_) * b_.inputs, b_.inputs};
            depthwise(rows, taps1_, b_.inputs, from_, to_ - from_, plain);
            if (r % 2) wavelet_step((r - 2) / 2);
        }
    }

  private:
    bool inside(int64_t y) const { return y >= 0 && y < b_.height; }
    bool own(int64_t y) const { return y >= p_.top && y < p_.bottom; }
    // Of the first column of the window; null for rows that belong to another patch.
    float* own_row(float* maps, int64_t y, int64_t channels) const {
        return maps && own(y) ? maps + pixel(y) * channels : nullptr;
    }
    int64_t pixel(int64_t y) const { return (p_.image * b_.height + y) * b_.width + p_.first; }
    // Of the slice of row y.
    float* sums(float* all, int64_t y, int64_t length) const {
        const int64_t index = p_.sum + (y - p_.top) / cuts_.slice() * cuts_.tiles();
        return all + (index * b_.n + p_.image) * length;
    }
    // Pixels from column x on that fit into a tile and are alike in whether they are this patch's own.
    int64_t run_from(int64_t x) const {
        const int64_t end = x < from_ ? from_ : x < to_ ? to_ : width_;
        return std::min(tile_.pixels, end - x);
    }
    // The kernel of the transposed convolution.
    static const float* reversed(Scratch& scratch, const float* taps, int64_t C) {
        float* to = scratch.take(9 * C);
        for (int k = 0; k < 9; ++k) std::copy_n(taps + (8 - k) * C, C, to + k * C);
        return to;
    }
    // Panels of the head's columns [O, kHead] as rows.
    void pack_head() {
        const float* head = b_.head + p_.image * b_.outputs * kHead;
        float* to = head_;
        for (int64_t panel = 0; panel < b_.outputs; panel += kColumns)
            for (int k = 0; k < 4 * b_.image_channels; ++k)
                for (int64_t o = panel; o < panel + kColumns; ++o) *to++ = head[o * kHead + k];
    }

    // Results of the first layer up to row y, from the first that this patch needs on.
    void features_up_to(int64_t y) {
        if (known_ < 0) known_ = std::max<int64_t>(0, p_.top - (b_.head ? 3 : 1));
        for (; known_ <= std::min(y, b_.height - 1); ++known_) {
            rows_.first_layer(known_);
            if (float* to = own_row(g_.d1, known_, b_.inputs)) rows_.first_depthwise(known_, to, from_, to_);
        }
    }

    // Gradient before the second layer's activation, and of its modulated depthwise results.
    void second_layer(int64_t y) {
        const int64_t O = b_.outputs;
        noise_.start(own_row(g_.noise2, y, 1));
        if (b_.head || g_.d2) features_up_to(y + 1);
        if (b_.head) {
            rows_.second_layer(y, features_, 0, width_);
            gather_cells(y);
            if (own(y) && g_.head) sum_head(sums(g_.head, y, O * kHead));
        }
        float* kept = own_row(g_.z2, y, O);
        for (int64_t x = 0, count; x < width_; x += count) {
            count = run_from(x);
            if (b_.head) through_head(x, count);
            else through_result(y, x, count);
            finish_tile(x, count, kept, g_.back2, O, second_.row(y));
        }
        noise_.finish(from_, to_);
        if (float* to = own_row(g_.d2, y, O)) rows_.second_depthwise(y, to, from_, to_);
    }

    void through_result(int64_t y, int64_t x, int64_t count) {
        const int64_t O = b_.outputs, start = (pixel(y) + x) * O;
        for (int64_t i = 0; i < count; ++i)
            for (int64_t c = 0; c < O; c += kLanes) {
                const Vec z = sloped(at(g_.dy + start + i * O + c), at(g_.y + start + i * O + c));
                noise_.add(x + i, z);
                put(tile_.data + i * tile_.stride + c, z);
            }
    }

    void through_head(int64_t x, int64_t count) {
        const int64_t O = b_.outputs;
        const float* features = features_ + x * O;
        product<kVectors>(
            cells_ + x * kHead, kHead, count, 4 * b_.image_channels, head_, O, [](int64_t) { return Vec{}; },
            [&](int64_t i, int64_t column, Vec v) {
                if (i >= count) return;
                const Vec z = sloped(v, at(features + i * O + column));
                noise_.add(x + i, z);
                put(tile_.data + i * tile_.stride + column, z);
            });
    }

    // The image's gradient of row y, as columns of the head have it.
    void gather_cells(int64_t y) {
        const int64_t width = 2 * b_.width, plane = 2 * b_.height * width, C = b_.image_channels;
        std::fill_n(cells_, width_ * kHead, 0.0f);
        for (int64_t q = 0; q < 2 * C; ++q) {
            const float* from = g_.image + (p_.image * C + q / 2) * plane + (2 * y + q % 2) * width + 2 * p_.first;
            for (int64_t x = 0; x < width_; ++x)
                std::memcpy(cells_ + x * kHead + 2 * q, from + 2 * x, 2 * sizeof(float));
        }
    }

    void sum_head(float* to) {
        const int64_t O = b_.outputs;
        int64_t o = 0;
        for (; o + kRows <= O; o += kRows) sum_head_rows<kRows>(o, to);
        for (; o < O; o += kRowStep) sum_head_rows<kRowStep>(o, to);
    }

    template <int R> void sum_head_rows(int64_t o, float* to) {
        Vec sum[R][kCells];
        for (int i = 0; i < R; ++i)
            for (int j = 0; j < kCells; ++j) sum[i][j] = at(to + (o + i) * kHead + j * kLanes);
        block<R, kCells>(features_ + from_ * b_.outputs + o, 1, to_ - from_, cells_ + from_ * kHead, sum, b_.outputs);
        for (int i = 0; i < R; ++i)
            for (int j = 0; j < kCells; ++j) put(to + (o + i) * kHead + j * kLanes, sum[i][j]);
    }

    void first_layer(int64_t y) {
        const int64_t O = b_.outputs;
        features_up_to(y);
        noise_.start(own_row(g_.noise1, y, 1));
        const float* const rows[3] = {second_.padded(y - 1), second_.padded(y), second_.padded(y + 1)};
        float *kept = own_row(g_.z1, y, O), *styles = own(y) ? sums(g_.styles2, y, O) : nullptr;
        for (int64_t x = 0, count; x < width_; x += count) {
            count = run_from(x);
            ThroughFirst through{rows_.features(y) + x * O,
                                 b_.styles2 + p_.image * O,
                                 is_own(x) ? styles : nullptr,
                                 tile_.data,
                                 tile_.stride,
                                 O,
                                 x,
                                 noise_,
                                 Vec{}};
            depthwise(rows, taps2_, O, x, count, through);
            finish_tile(x, count, kept, g_.back1, b_.inputs, first_.row(y));
        }
        noise_.finish(from_, to_);
    }
    bool is_own(int64_t x) const { return x >= from_ && x < to_; }

    // Multiplies what lies in the tile by transposed weights.
    void finish_tile(int64_t x, int64_t count, float* kept, const float* weight, int64_t columns, float* to) {
        const int64_t O = b_.outputs;
        for (int64_t i = 0; kept && is_own(x) && i < count; ++i)
            std::copy_n(tile_.data + i * tile_.stride, O, kept + (x + i) * O);
        product<kVectors>(
            tile_.data, tile_.stride, count, O, weight, columns, [](int64_t) { return Vec{}; },
            [&](int64_t i, int64_t column, Vec v) {
                if (i < count && column < columns) put(to + (x + i) * columns + column, v);
            });
    }

    // Two rows of gradients of the modulated input -> one row of gradients of the coefficients.
    void wavelet_step(int64_t y) {
        const int64_t I = b_.inputs, row = ((p_.image * b_.height / 2 + y) * (b_.width / 2) + p_.first / 2) * 4 * I;
        const float *up = b_.up + p_.image * 4 * I, *scale = b_.styles1 + p_.image * I;
        float *to_up = sums(g_.up, 2 * y, 4 * I), *to_styles = sums(g_.styles1, 2 * y, I);
        for (int64_t c = 0; c < I; c += kLanes) {
            Vec u[4], ups[4] = {}, styles = {};
            for (int k = 0; k < 4; ++k) u[k] = at(up + k * I + c);
            const Vec s = at(scale + c);
            for (int64_t j = from_ / 2; j < to_ / 2; ++j) {
                const float *x = b_.x + row + j * 4 * I + c, *p = pair_ + 2 * j * I + c, *q = p + width_ * I;
                const Vec x0 = at(x), x1 = at(x + I), x2 = at(x + 2 * I), x3 = at(x + 3 * I);
                const Vec a = at(p), b = at(p + I), d = at(q), e = at(q + I);
                const Vec sums[4] = {(a + b) + (d + e), (a + b) - (d + e), (a - b) + (d - e), (a - b) - (d - e)};
                styles += sums[0] * (u[0] * x0) + sums[1] * (u[1] * x1) + sums[2] * (u[2] * x2) + sums[3] * (u[3] * x3);
                ups[0] += sums[0] * x0, ups[1] += sums[1] * x1, ups[2] += sums[2] * x2, ups[3] += sums[3] * x3;
                for (int k = 0; k < 4; ++k) put(g_.x + row + (j * 4 + k) * I + c, sums[k] * (u[k] * s));
            }
            put(to_styles + c, at(to_styles + c) + styles);
            for (int k = 0; k < 4; ++k) put(to_up + k * I + c, at(to_up + k * I + c) + ups[k] * s);
        }
    }

    const WaveletBlock& b_;
    const WaveletGrad& g_;
    const Cuts& cuts_;
    const Patch p_;
    int64_t width_, from_, to_;  // of the window, and its own columns in it
    Rows rows_;
    Ring<3> second_, first_;  // gradients of depthwise results
    Tile tile_;
    const float *taps1_, *taps2_;
    PixelSums noise_;
    float *features_, *cells_, *pair_, *head_;
    int64_t known_ = -1;
};

}  // namespace
}  // namespace latentedit

using namespace latentedit;

// How many sums are taken over parts of images of this size.
LE_API int64_t le_wavelet_sums(const WaveletBlock* b) { return Cuts(*b, PatchGrad::kHalo, 1).sums(); }

LE_API int le_wavelet_block_grad(const WaveletBlock* b, const WaveletGrad* g, int64_t threads) {
    if (!le_wavelet_fits(b->inputs, b->outputs, b->image_channels)) return 1;
    if (!b->n) return 0;
    const Cuts cuts(*b, PatchGrad::kHalo, threads);
    expect_writes(g->x, b->n * b->height * b->width * b->inputs * int64_t(sizeof(float)));
    parallel(cuts.jobs(), 1, int(threads), [&](int64_t begin, int64_t end, int) {
        thread_local Scratch scratch;
        for (int64_t job = begin; job < end; ++job) {
            const Patch patch = cuts.patch(job);
            scratch.start(PatchGrad::scratch(*b, patch.width()));
            PatchGrad(*b, *g, cuts, patch, scratch).run();
        }
    });
    return 0;
}
