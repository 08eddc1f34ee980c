// The block of MobileStyleGAN on the CPU, float32, channels-last: wavelet step, then twice a modulated depthwise 3x3
// and a pointwise convolution with noise, bias and leaky ReLU. A band of rows streams through rings of few rows, so
// that nothing between the input and the output of a block leaves the cache.
//
// Legend: I/O channels in and out, a row has `width` pixels; rows in rings have a pixel of zeros on either side.
#pragma once
#include <algorithm>
#include <vector>

#include "cpu.h"
#include "gemm.h"

LE_API int le_wavelet_fits(int64_t inputs, int64_t outputs, int64_t image_channels);

namespace latentedit {

constexpr float kSlope = 0.2f;  // of the leaky ReLU, which has no gain
constexpr int kHead = 16;       // columns of the packed image layer, 4 for every channel of the image

// Mirrored by ctypes in interface.py. Packed weights are as `product` takes them.
struct WaveletBlock {
    const float *x, *up;             // [N, height / 2, width / 2, 4I]; [N, 4I], halved
    const float *styles1, *styles2;  // [N, I], [N, O]
    const float *taps1, *taps2;      // [9, I], [9, O]
    const float *weight1, *weight2;  // I -> O, O -> O, packed
    const float *bias1, *bias2;      // [O]
    const float *noise1, *noise2;    // [N or 1, height, width] or null
    const float *head, *head_bias;   // [N, O, kHead], [kHead], or null: columns are (channel, row, column) of a cell
    int64_t noise1_stride, noise2_stride;  // height * width, or 0 where all images share one map
    int64_t n, inputs, outputs, height, width, image_channels;
};

// Part of an image that a thread works on: rows [top, bottom) and columns [left, right), and the columns [first, last)
// that it computes, since neighbours reach into each other. Edges of the window are taken for edges of the image.
struct Patch {
    int64_t image, top, bottom, left, right, first, last, sum;  // sum: index of the first of its sums
    int64_t width() const { return last - first; }
};

// How images are cut into patches: into columns that the cache holds the rows of, and as few bands of rows as keep the
// threads busy. Sums are over slices of the columns, so that results do not depend on the number of threads.
class Cuts {
  public:
    Cuts(const WaveletBlock& b, int64_t halo, int64_t threads)
        : n_(b.n), height_(b.height), width_(b.width), halo_(halo),
          slice_(std::max<int64_t>(4, (height_ + 15) / 16 * 2)), columns_((width_ / tiles() + 1) / 2 * 2) {
        const int64_t slices = (height_ + slice_ - 1) / slice_;
        const int64_t wanted = std::clamp<int64_t>((2 * threads + n_ * tiles() - 1) / (n_ * tiles()), 1, slices);
        rows_ = (slices + wanted - 1) / wanted * slice_;
        bands_ = (height_ + rows_ - 1) / rows_;
    }
    int64_t jobs() const { return n_ * bands_ * tiles(); }
    int64_t widest() const { return std::min(width_, columns_ + 2 * halo_); }
    int64_t slice() const { return slice_; }
    int64_t sums() const { return (height_ + slice_ - 1) / slice_ * tiles(); }
    Patch patch(int64_t job) const {
        const int64_t tile = job % tiles(), band = job / tiles() % bands_, image = job / tiles() / bands_;
        const int64_t top = band * rows_, left = tile * columns_, right = std::min(left + columns_, width_);
        return {image,
                top,
                std::min(top + rows_, height_),
                left,
                right,
                std::max<int64_t>(0, left - halo_),
                std::min(right + halo_, width_),
                top / slice_ * tiles() + tile};
    }
    int64_t tiles() const { return std::max<int64_t>(1, width_ / kTile); }

  private:
    static constexpr int64_t kTile = 128;
    int64_t n_, height_, width_, halo_, slice_, columns_, rows_, bands_;
};

// Memory of a thread, kept from call to call.
class Scratch {
  public:
    void start(int64_t floats) {
        if (int64_t(memory_.size()) < floats + kLine) memory_ = std::vector<float>(floats + kLine);
        const auto address = reinterpret_cast<uintptr_t>(memory_.data());
        next_ = memory_.data() + (kLine * sizeof(float) - address % (kLine * sizeof(float))) / sizeof(float) % kLine;
    }
    float* take(int64_t floats) {
        float* taken = next_;
        next_ += floats;
        return taken;
    }

  private:
    static constexpr int64_t kLine = 16;  // floats of a cache line, across which no vector should lie
    std::vector<float> memory_;
    float* next_ = nullptr;
};

// The last `Rows` rows of an image, each behind a pixel of zeros and before another; outside the image all is zero.
template <int Rows> class Ring {
  public:
    static int64_t size(int64_t width, int64_t channels) { return (Rows + 1) * (width + 2) * channels; }
    Ring(Scratch& scratch, int64_t width, int64_t channels, int64_t height)
        : row_((width + 2) * channels), channels_(channels), height_(height),
          data_(scratch.take(size(width, channels))) {
        for (int64_t i = 0; i <= Rows; ++i) {
            std::fill_n(data_ + i * row_, channels, 0.0f);
            std::fill_n(data_ + (i + 1) * row_ - channels, channels, 0.0f);
        }
        std::fill_n(data_ + Rows * row_, row_, 0.0f);
    }
    float* row(int64_t y) { return data_ + y % Rows * row_ + channels_; }  // of its first pixel
    const float* padded(int64_t y) const {                                 // of the zeros before it
        return data_ + (y < 0 || y >= height_ ? Rows : y % Rows) * row_;
    }

  private:
    int64_t row_, channels_, height_;
    float* data_;
};

// Rows of depthwise results on their way into a product: as many pixels as the first cache holds.
struct Tile {
    int64_t stride, pixels;
    float* data;

    static int64_t size(int64_t channels) { return (pixels_of(channels) + kRowStep) * (channels + kLanes); }
    static int64_t pixels_of(int64_t channels) { return std::max<int64_t>(kRows, 8192 / channels / kRows * kRows); }
    Tile(Scratch& scratch, int64_t channels)
        : stride(channels + kLanes), pixels(pixels_of(channels)), data(scratch.take(size(channels))) {}
};

// taps [9, C] times styles [C]: modulation costs nothing then.
inline const float* modulated(Scratch& scratch, const float* taps, const float* styles, int64_t C) {
    float* to = scratch.take(9 * C);
    for (int k = 0; k < 9; ++k)
        for (int64_t c = 0; c < C; ++c) to[k * C + c] = taps[k * C + c] * styles[c];
    return to;
}

// `count` pixels from column x of three padded rows [., C]: calls to.start(c), to.take(pixel, c, vector) for each, and
// to.end(c), for one vector of channels after the other.
template <class To>
LE_INLINE void depthwise(const float* const (&rows)[3], const float* taps, int64_t C, int64_t x, int64_t count,
                         To& to) {
    for (int64_t c = 0; c < C; c += kLanes) {
        Vec t[9];
        for (int k = 0; k < 9; ++k) t[k] = at(taps + k * C + c);
        const float *a = rows[0] + x * C + c, *b = rows[1] + x * C + c, *d = rows[2] + x * C + c;
        Vec u = at(a), v = at(b), w = at(d);
        Vec left = t[0] * u + t[3] * v + t[6] * w;
        u = at(a + C), v = at(b + C), w = at(d + C);
        left += t[1] * u + t[4] * v + t[7] * w;
        Vec middle = t[0] * u + t[3] * v + t[6] * w;
        to.start(c);
        for (int64_t i = 0; i < count; ++i) {
            const int64_t next = (i + 2) * C;
            u = at(a + next), v = at(b + next), w = at(d + next);
            to.take(i, c, left + (t[2] * u + t[5] * v + t[8] * w));
            left = middle + (t[1] * u + t[4] * v + t[7] * w);
            middle = t[0] * u + t[3] * v + t[6] * w;
        }
        to.end(c);
    }
}

// Pixels `stride` apart, as they come.
struct Plain {
    float* data;
    int64_t stride;
    void start(int64_t) {}
    LE_INLINE void take(int64_t i, int64_t c, Vec v) { put(data + i * stride + c, v); }
    void end(int64_t) {}
};

// One row of coefficients [pixels, 4I] -> two rows of [2 * pixels, I]; `up` [4I] is halved.
inline void wavelet_rows(const float* x, const float* up, int64_t I, int64_t pixels, float* above, float* below) {
    for (int64_t j = 0; j < pixels; ++j, x += 4 * I, above += 2 * I, below += 2 * I) {
        for (int64_t c = 0; c < I; c += kLanes) {
            const Vec low = at(x + c) * at(up + c), vertical = at(x + I + c) * at(up + I + c);
            const Vec horizontal = at(x + 2 * I + c) * at(up + 2 * I + c);
            const Vec diagonal = at(x + 3 * I + c) * at(up + 3 * I + c);
            const Vec top = low + vertical, bottom = low - vertical;
            const Vec plus = horizontal + diagonal, minus = horizontal - diagonal;
            put(above + c, top + plus);
            put(above + I + c, top - plus);
            put(below + c, bottom + minus);
            put(below + I + c, bottom - minus);
        }
    }
}

// One patch forward: rows of the first and of the second layer, over the window. Rows are to be asked for one after the
// other.
class Rows {
  public:
    static int64_t scratch(const WaveletBlock& b, int64_t width) {
        return Ring<4>::size(width, b.inputs) + Ring<3>::size(width, b.outputs) + Tile::size(b.inputs) +
               Tile::size(b.outputs) + 9 * (b.inputs + b.outputs);
    }
    Rows(const WaveletBlock& b, const Patch& p, Scratch& scratch)
        : b_(b), width_(p.width()), x_(b.x + (p.image * (b.height / 2) * (b.width / 2) + p.first / 2) * 4 * b.inputs),
          up_(b.up + p.image * 4 * b.inputs),
          noise1_(b.noise1 ? b.noise1 + p.image * b.noise1_stride + p.first : nullptr),
          noise2_(b.noise2 ? b.noise2 + p.image * b.noise2_stride + p.first : nullptr),
          first_(scratch, width_, b.inputs, b.height), second_(scratch, width_, b.outputs, b.height),
          tile1_(scratch, b.inputs), tile2_(scratch, b.outputs),
          taps1_(modulated(scratch, b.taps1, b.styles1 + p.image * b.inputs, b.inputs)),
          taps2_(modulated(scratch, b.taps2, b.styles2 + p.image * b.outputs, b.outputs)) {}

    // Row y of the first layer, which `features` then has.
    void first_layer(int64_t y) {
        if (ready_ < 0) ready_ = std::max<int64_t>(0, y - 1) / 2 * 2;
        for (; ready_ <= std::min(y + 1, b_.height - 1); ready_ += 2)
            wavelet_rows(x_ + ready_ / 2 * (b_.width / 2) * 4 * b_.inputs, up_, b_.inputs, width_ / 2,
                         first_.row(ready_), first_.row(ready_ + 1));
        layer(first_, y, b_.inputs, taps1_, tile1_, b_.weight1, b_.bias1, noise1_, second_.row(y), 0, width_);
    }
    // Columns [from, to) of row y of the second layer, from the rows of the first around it; `out`: of column 0.
    void second_layer(int64_t y, float* out, int64_t from, int64_t to) {
        layer(second_, y, b_.outputs, taps2_, tile2_, b_.weight2, b_.bias2, noise2_, out, from, to);
    }
    const float* features(int64_t y) { return second_.row(y); }  // of the last three rows
    // What the products of the row computed last took.
    void first_depthwise(int64_t y, float* out, int64_t from, int64_t to) const {
        copy_depthwise(first_, y, b_.inputs, taps1_, out, from, to);
    }
    void second_depthwise(int64_t y, float* out, int64_t from, int64_t to) const {
        copy_depthwise(second_, y, b_.outputs, taps2_, out, from, to);
    }

  private:
    template <class R>
    static void copy_depthwise(const R& ring, int64_t y, int64_t C, const float* taps, float* out, int64_t from,
                               int64_t to) {
        const float* const rows[3] = {ring.padded(y - 1), ring.padded(y), ring.padded(y + 1)};
        Plain plain{out + from * C, C};
        depthwise(rows, taps, C, from, to - from, plain);
    }
    template <class R>
    void layer(const R& ring, int64_t y, int64_t C, const float* taps, const Tile& tile, const float* weight,
               const float* bias, const float* noise, float* to, int64_t begin, int64_t end) {
        const float* const rows[3] = {ring.padded(y - 1), ring.padded(y), ring.padded(y + 1)};
        const int64_t O = b_.outputs;
        for (int64_t x = begin; x < end; x += tile.pixels) {
            const int64_t count = std::min(tile.pixels, end - x);
            Plain plain{tile.data, tile.stride};
            depthwise(rows, taps, C, x, count, plain);
            const float* shift = noise ? noise + y * b_.width + x : nullptr;
            float* out = to + x * O;
            product<kVectors>(
                tile.data, tile.stride, count, C, weight, O, [&](int64_t column) { return at(bias + column); },
                [&](int64_t i, int64_t column, Vec v) {
                    if (i >= count) return;
                    if (shift) v += shift[i];
                    const Vec low = v * kSlope;
                    put(out + i * O + column, v > low ? v : low);
                });
        }
    }

    const WaveletBlock& b_;
    int64_t width_;
    const float *x_, *up_, *noise1_, *noise2_;
    Ring<4> first_;
    Ring<3> second_;
    Tile tile1_, tile2_;
    const float *taps1_, *taps2_;
    int64_t ready_ = -1;
};

}  // namespace latentedit
