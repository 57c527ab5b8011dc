// Training steps between convolutions that are bound by memory, each in one pass over its maps.
//
// Maps are f32 in channels-last order, seen as rows of `channels` values; vectors have one value per channel.
// The same mathematics as the plain modules in network.py, where each formula has its explanation.

#include <torch/extension.h>

#include <cmath>
#include <vector>

// The values of a row do not depend on each other; without this the compiler would test that pointers do not overlap.
#define INDEPENDENT _Pragma("GCC ivdep")

namespace {

// Sums are f32 over this many rows and f64 over all of them.
constexpr int64_t ROWS_PER_SUM = 128;

struct Map {
    int64_t rows;
    int64_t channels;
};

Map shape_of(const torch::Tensor &map) {
    TORCH_CHECK(map.dim() == 4 && map.scalar_type() == torch::kFloat && map.device().is_cpu() &&
                    map.is_contiguous(at::MemoryFormat::ChannelsLast),
                "expected a map f32 [N, C, H, W] in channels-last order on the CPU");
    return {map.size(0) * map.size(2) * map.size(3), map.size(1)};
}

const float *vector_of(const torch::Tensor &vector, int64_t channels) {
    TORCH_CHECK(vector.numel() == channels && vector.scalar_type() == torch::kFloat && vector.is_contiguous(),
                "expected f32 [", channels, "]");
    return vector.data_ptr<float>();
}

torch::Tensor vector_from(const std::vector<double> &sums) {
    auto out = torch::empty({static_cast<int64_t>(sums.size())});
    float *to = out.data_ptr<float>();
    for (size_t i = 0; i < sums.size(); ++i) to[i] = static_cast<float>(sums[i]);
    return out;
}

// Calls body(row, sums) for every row; sums[k] points to one f32 accumulator per channel. Returns their totals.
template <int COUNT, typename Body>
std::vector<std::vector<double>> sum_rows(Map shape, Body body) {
    std::vector<std::vector<double>> totals(COUNT, std::vector<double>(shape.channels, 0.0));
    std::vector<float> partial(COUNT * shape.channels);
    float *sums[COUNT];
    for (int k = 0; k < COUNT; ++k) sums[k] = partial.data() + k * shape.channels;
    for (int64_t start = 0; start < shape.rows; start += ROWS_PER_SUM) {
        std::fill(partial.begin(), partial.end(), 0.0f);
        const int64_t end = std::min(start + ROWS_PER_SUM, shape.rows);
        for (int64_t row = start; row < end; ++row) body(row, sums);
        for (int k = 0; k < COUNT; ++k)
            for (int64_t c = 0; c < shape.channels; ++c) totals[k][c] += sums[k][c];
    }
    return totals;
}

}  // namespace

// sign(x + shift)
torch::Tensor sign_forward(torch::Tensor x, torch::Tensor shift) {
    const Map shape = shape_of(x);
    const float *moved = vector_of(shift, shape.channels);
    auto out = torch::empty_like(x);
    const float *from = x.data_ptr<float>();
    float *to = out.data_ptr<float>();
    for (int64_t row = 0; row < shape.rows; ++row) {
        const float *__restrict in = from + row * shape.channels;
        float *__restrict signs = to + row * shape.channels;
        INDEPENDENT
        for (int64_t c = 0; c < shape.channels; ++c) signs[c] = in[c] + moved[c] >= 0 ? 1.0f : -1.0f;
    }
    return out;
}

// Gradients of x and shift.
std::vector<torch::Tensor> sign_backward(torch::Tensor gradient, torch::Tensor x, torch::Tensor shift) {
    const Map shape = shape_of(x);
    gradient = gradient.contiguous(at::MemoryFormat::ChannelsLast);
    const float *moved = vector_of(shift, shape.channels);
    auto out = torch::empty_like(x);
    const float *from = x.data_ptr<float>(), *grad = gradient.data_ptr<float>();
    float *to = out.data_ptr<float>();
    const int64_t channels = shape.channels;
    auto sums = sum_rows<1>(shape, [=](int64_t row, float **sums) {
        const float *__restrict in = from + row * channels, *__restrict g = grad + row * channels;
        float *__restrict result = to + row * channels, *__restrict sum = sums[0];
        INDEPENDENT
        for (int64_t c = 0; c < channels; ++c) {
            const float slope = 2.0f - 2.0f * std::fabs(in[c] + moved[c]);
            const float value = slope > 0 ? g[c] * slope : 0.0f;
            result[c] = value;
            sum[c] += value;
        }
    });
    return {out, vector_from(sums[0])};
}

// Mean and (biased) variance of every channel.
std::vector<torch::Tensor> statistics(torch::Tensor x) {
    const Map shape = shape_of(x);
    const float *from = x.data_ptr<float>();
    const int64_t channels = shape.channels;
    auto sums = sum_rows<2>(shape, [=](int64_t row, float **sums) {
        const float *__restrict in = from + row * channels;
        float *__restrict sum = sums[0], *__restrict squares = sums[1];
        INDEPENDENT
        for (int64_t c = 0; c < channels; ++c) {
            sum[c] += in[c];
            squares[c] += in[c] * in[c];
        }
    });
    INDEPENDENT
    for (int64_t c = 0; c < channels; ++c) {
        sums[0][c] /= shape.rows;
        sums[1][c] = std::max(sums[1][c] / shape.rows - sums[0][c] * sums[0][c], 0.0);
    }
    return {vector_from(sums[0]), vector_from(sums[1])};
}

// PReLU(scale * x + offset + shortcut) + after, where offset holds BatchNorm's and the shift before PReLU.
torch::Tensor tail_forward(torch::Tensor x, torch::Tensor shortcut, torch::Tensor scale, torch::Tensor offset,
                           torch::Tensor slope, torch::Tensor after) {
    const Map shape = shape_of(x);
    shape_of(shortcut);
    TORCH_CHECK(shortcut.sizes() == x.sizes(), "the shortcut has another shape");
    const float *a = vector_of(scale, shape.channels), *b = vector_of(offset, shape.channels);
    const float *p = vector_of(slope, shape.channels), *s = vector_of(after, shape.channels);
    auto out = torch::empty_like(x);
    const float *from = x.data_ptr<float>(), *beside = shortcut.data_ptr<float>();
    float *to = out.data_ptr<float>();
    for (int64_t row = 0; row < shape.rows; ++row) {
        const float *__restrict in = from + row * shape.channels, *__restrict r = beside + row * shape.channels;
        float *__restrict result = to + row * shape.channels;
        INDEPENDENT
        for (int64_t c = 0; c < shape.channels; ++c) {
            const float z = a[c] * in[c] + b[c] + r[c];
            result[c] = (z > 0 ? z : p[c] * z) + s[c];
        }
    }
    return out;
}

// Gradients of x, shortcut, BatchNorm's weight and bias, the shift before PReLU, its slope and the shift after it.
std::vector<torch::Tensor> tail_backward(torch::Tensor gradient, torch::Tensor x, torch::Tensor shortcut,
                                         torch::Tensor scale, torch::Tensor offset, torch::Tensor slope,
                                         torch::Tensor mean, torch::Tensor inverse_deviation) {
    const Map shape = shape_of(x);
    gradient = gradient.contiguous(at::MemoryFormat::ChannelsLast);
    const int64_t channels = shape.channels;
    const float *a = vector_of(scale, channels), *b = vector_of(offset, channels), *p = vector_of(slope, channels);
    const float *m = vector_of(mean, channels), *d = vector_of(inverse_deviation, channels);
    auto of_shortcut = torch::empty_like(x), of_x = torch::empty_like(x);
    const float *from = x.data_ptr<float>(), *beside = shortcut.data_ptr<float>(), *grad = gradient.data_ptr<float>();
    float *to = of_shortcut.data_ptr<float>(), *result = of_x.data_ptr<float>();
    auto sums = sum_rows<4>(shape, [=](int64_t row, float **sums) {
        const float *__restrict in = from + row * channels, *__restrict r = beside + row * channels;
        const float *__restrict g = grad + row * channels;
        float *__restrict out = to + row * channels;
        float *__restrict all = sums[0], *__restrict slopes = sums[1];
        float *__restrict inner = sums[2], *__restrict normed = sums[3];
        INDEPENDENT
        for (int64_t c = 0; c < channels; ++c) {
            const float z = a[c] * in[c] + b[c] + r[c];
            const float gz = z > 0 ? g[c] : p[c] * g[c];
            out[c] = gz;
            all[c] += g[c];
            slopes[c] += z > 0 ? 0.0f : g[c] * z;
            inner[c] += gz;
            normed[c] += gz * ((in[c] - m[c]) * d[c]);
        }
    });
    std::vector<float> constant(channels), linear(channels);
    INDEPENDENT
    for (int64_t c = 0; c < channels; ++c) {
        const double tilt = sums[3][c] / shape.rows * d[c];
        linear[c] = static_cast<float>(-a[c] * tilt);
        constant[c] = static_cast<float>(a[c] * (tilt * m[c] - sums[2][c] / shape.rows));
    }
    const float *k = constant.data(), *l = linear.data();
    for (int64_t row = 0; row < shape.rows; ++row) {
        const float *__restrict in = from + row * channels, *__restrict gz = to + row * channels;
        float *__restrict out = result + row * channels;
        INDEPENDENT
        for (int64_t c = 0; c < channels; ++c) out[c] = a[c] * gz[c] + l[c] * in[c] + k[c];
    }
    auto inner = vector_from(sums[2]);
    return {of_x, of_shortcut, vector_from(sums[3]), inner, inner.clone(), vector_from(sums[1]), vector_from(sums[0])};
}

// Signs of latent weights.
torch::Tensor weight_sign_forward(torch::Tensor weight) {
    TORCH_CHECK(weight.scalar_type() == torch::kFloat && weight.is_non_overlapping_and_dense(), "expected dense f32");
    auto out = torch::empty_like(weight);
    const int64_t count = weight.numel();
    const float *from = weight.data_ptr<float>();
    float *to = out.data_ptr<float>();
    INDEPENDENT
    for (int64_t i = 0; i < count; ++i) to[i] = from[i] >= 0 ? 1.0f : -1.0f;
    return out;
}

// The gradient where `passes` says so of the value beside it, else 0.
template <typename Passes>
torch::Tensor gradient_where(torch::Tensor gradient, torch::Tensor values, Passes passes) {
    auto out = torch::empty_like(values);
    if (gradient.strides() != values.strides()) gradient = torch::empty_like(values).copy_(gradient);
    const int64_t count = values.numel();
    const float *from = values.data_ptr<float>(), *grad = gradient.data_ptr<float>();
    float *to = out.data_ptr<float>();
    INDEPENDENT
    for (int64_t i = 0; i < count; ++i) to[i] = passes(from[i]) ? grad[i] : 0.0f;
    return out;
}

// The gradient where |weight| <= 1.25, else 0.
torch::Tensor weight_sign_backward(torch::Tensor gradient, torch::Tensor weight) {
    return gradient_where(gradient, weight, [](float w) { return std::fabs(w) <= 1.25f; });
}

// The share of the thresholds that x reaches.
torch::Tensor steps_forward(torch::Tensor x, std::vector<double> thresholds) {
    TORCH_CHECK(x.scalar_type() == torch::kFloat && x.is_non_overlapping_and_dense(), "expected dense f32");
    auto out = torch::zeros_like(x);
    const int64_t count = x.numel();
    const float *from = x.data_ptr<float>();
    float *to = out.data_ptr<float>();
    const float step = 1.0f / thresholds.size();
    for (const double threshold : thresholds) {
        const float least = static_cast<float>(threshold);
        INDEPENDENT
        for (int64_t i = 0; i < count; ++i) to[i] += from[i] >= least ? step : 0.0f;
    }
    return out;
}

// The gradient where 0 <= x <= 1, else 0.
torch::Tensor steps_backward(torch::Tensor gradient, torch::Tensor x) {
    return gradient_where(gradient, x, [](float value) { return value >= 0.0f && value <= 1.0f; });
}

PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
    module.def("sign_forward", &sign_forward);
    module.def("sign_backward", &sign_backward);
    module.def("weight_sign_forward", &weight_sign_forward);
    module.def("weight_sign_backward", &weight_sign_backward);
    module.def("steps_forward", &steps_forward);
    module.def("steps_backward", &steps_backward);
    module.def("statistics", &statistics);
    module.def("tail_forward", &tail_forward);
    module.def("tail_backward", &tail_backward);
}
