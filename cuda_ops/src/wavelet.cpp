// MobileStyleGAN's block forward on the CPU, with the image layer that ends the network; see wavelet.h.
#include "wavelet.h"

namespace latentedit {
namespace {

// Two rows of the image from `count` pixels of features: a pixel's columns of the product are its cell. `to`: of the
// first pixel's.
void image_rows(const WaveletBlock& b, const float* features, int64_t count, const float* head, float* to) {
    const int64_t width = 2 * b.width, plane = 2 * b.height * width;
    product<kHead / kLanes>(
        features, b.outputs, count, b.outputs, head, kHead, [&](int64_t column) { return at(b.head_bias + column); },
        [&](int64_t x, int64_t column, Vec v) {
            float cell[kLanes];
            put(cell, v);
            if (x >= count) return;
            for (int j = 0; j < kLanes && column + j < 4 * b.image_channels; j += 2) {
                const int64_t c = (column + j) / 4, below = (column + j) / 2 % 2;
                std::memcpy(to + c * plane + below * width + 2 * x, cell + j, 2 * sizeof(float));
            }
        });
}

void forward(const WaveletBlock& b, const Patch& p, float* y, float* image, float* features, Rows& rows) {
    if (p.top > 0) rows.first_layer(p.top - 1);
    rows.first_layer(p.top);
    const int64_t from = p.left - p.first, to = p.right - p.first;
    for (int64_t r = p.top; r < p.bottom; ++r) {
        if (r + 1 < b.height) rows.first_layer(r + 1);
        rows.second_layer(r, image ? features : y + ((p.image * b.height + r) * b.width + p.first) * b.outputs, from,
                          to);
        if (!image) continue;
        float* cells = image + p.image * b.image_channels * 4 * b.height * b.width + 4 * r * b.width + 2 * p.left;
        image_rows(b, features + from * b.outputs, to - from, b.head + p.image * b.outputs * kHead, cells);
    }
}

}  // namespace
}  // namespace latentedit

using namespace latentedit;

// Whether the kernels take these channel counts.
LE_API int le_wavelet_fits(int64_t inputs, int64_t outputs, int64_t image_channels) {
    return inputs % kLanes == 0 && outputs % kColumns == 0 && 4 * image_channels <= kHead;
}

// weights [O, C] -> panels [O / kColumns][C][kColumns], or of the transposed weights.
LE_API void le_pack(const float* weight, float* to, int64_t O, int64_t C, int transposed) {
    const int64_t columns = transposed ? C : O, depth = transposed ? O : C;
    for (int64_t panel = 0; panel < columns; panel += kColumns)
        for (int64_t k = 0; k < depth; ++k)
            for (int64_t j = panel; j < panel + kColumns; ++j, ++to)
                *to = j >= columns ? 0.0f : transposed ? weight[k * C + j] : weight[j * C + k];
}

// y [N, height, width, O], or, where there is a head, image [N, image_channels, 2 * height, 2 * width]; the other null.
LE_API int le_wavelet_block(const WaveletBlock* b, float* y, float* image, int64_t threads) {
    if (!le_wavelet_fits(b->inputs, b->outputs, b->image_channels)) return 1;
    if (!b->n) return 0;
    const Cuts cuts(*b, 2, threads);
    const int64_t pixels = b->n * b->height * b->width;
    if (y) expect_writes(y, pixels * b->outputs * int64_t(sizeof(float)));
    if (image) expect_writes(image, pixels * 4 * b->image_channels * int64_t(sizeof(float)));
    parallel(cuts.jobs(), 1, int(threads), [&](int64_t begin, int64_t end, int) {
        thread_local Scratch scratch;
        for (int64_t job = begin; job < end; ++job) {
            const Patch patch = cuts.patch(job);
            const int64_t row = (patch.width() + kRowStep) * b->outputs;
            scratch.start(Rows::scratch(*b, patch.width()) + row);
            Rows rows(*b, patch, scratch);
            forward(*b, patch, y, image, scratch.take(row), rows);
        }
    });
    return 0;
}
