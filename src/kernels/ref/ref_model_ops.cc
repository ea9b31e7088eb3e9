// The operations of the report: hyper-connections, compression, indexer, attention, experts.
#include "kernels/ref/ref_ops_impl.h"

#include "quant/float_formats.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

namespace dsv4::ref {
namespace {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

double dot(const float* a, const float* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += double{a[i]} * b[i];
  return sum;
}

float round_if(Rounding rounding, double value) {
  const auto narrow = static_cast<float>(value);
  return rounding == Rounding::kBf16 ? round_to_bf16(narrow) : narrow;
}

// The entries of a token's list; empty where one is absent.
std::vector<std::vector<float>> decode_rows(const EntryLists& entries, int64_t token) {
  std::vector<std::vector<float>> rows;
  for (const std::byte* row : entries.of(token)) {
    rows.emplace_back();
    if (row == nullptr) continue;
    rows.back().resize(static_cast<size_t>(entries.format.width));
    decode_entry(entries.format, row, rows.back().data());
  }
  return rows;
}

// A NaN ranks below every number.
float rank_of(float score) {
  return std::isnan(score) ? -std::numeric_limits<float>::infinity() : score;
}

// Rows, then columns, `iters` times; the first row step is a softmax (architecture.md 5.2).
void sinkhorn(std::vector<double>& c, int64_t h, int64_t iters, double eps) {
  const auto at = [&](int64_t i, int64_t j) -> double& {
    return c[static_cast<size_t>(i * h + j)];
  };
  const auto divide_columns = [&] {
    for (int64_t j = 0; j < h; ++j) {
      double sum = 0;
      for (int64_t i = 0; i < h; ++i) sum += at(i, j);
      for (int64_t i = 0; i < h; ++i) at(i, j) /= sum + eps;
    }
  };
  for (int64_t i = 0; i < h; ++i) {
    double largest = at(i, 0);
    for (int64_t j = 1; j < h; ++j) largest = std::max(largest, at(i, j));
    double sum = 0;
    for (int64_t j = 0; j < h; ++j) sum += at(i, j) = std::exp(at(i, j) - largest);
    for (int64_t j = 0; j < h; ++j) at(i, j) = at(i, j) / sum + eps;
  }
  divide_columns();
  for (int64_t k = 1; k < iters; ++k) {
    for (int64_t i = 0; i < h; ++i) {
      double sum = 0;
      for (int64_t j = 0; j < h; ++j) sum += at(i, j);
      for (int64_t j = 0; j < h; ++j) at(i, j) /= sum + eps;
    }
    divide_columns();
  }
}

}  // namespace

void RefOps::do_hyper_connection_maps(Matrix<const float> m, const HyperConnectionParams& params,
                                      Matrix<float> pre, Matrix<float> post, View<float, 3> mix) {
  const int64_t h = pre.size(1);
  std::vector<double> c(static_cast<size_t>(h * h));
  for (int64_t t = 0; t < m.size(0); ++t) {
    const auto map = [&](int64_t i, size_t part) {
      return double{m(t, i)} * params.scale[part] + params.base[static_cast<size_t>(i)];
    };
    for (int64_t i = 0; i < h; ++i) {
      pre(t, i) = static_cast<float>(sigmoid(map(i, 0)) + params.eps);
      post(t, i) = static_cast<float>(2 * sigmoid(map(h + i, 1)));
    }
    for (int64_t i = 0; i < h * h; ++i) c[static_cast<size_t>(i)] = map(2 * h + i, 2);
    sinkhorn(c, h, params.sinkhorn_iters, params.eps);
    for (int64_t i = 0; i < h; ++i) {
      for (int64_t j = 0; j < h; ++j) {
        mix(t, i, j) = static_cast<float>(c[static_cast<size_t>(i * h + j)]);
      }
    }
  }
}

void RefOps::do_collapse(View<const float, 3> streams, Matrix<const float> pre, Matrix<float> x) {
  for (int64_t t = 0; t < x.size(0); ++t) {
    for (int64_t k = 0; k < x.size(1); ++k) {
      double sum = 0;
      for (int64_t i = 0; i < pre.size(1); ++i) sum += double{pre(t, i)} * streams(t, i, k);
      x(t, k) = static_cast<float>(sum);
    }
  }
}

void RefOps::do_expand(Matrix<const float> y, Matrix<const float> post, View<const float, 3> mix,
                       View<float, 3> streams) {
  const int64_t h = post.size(1);
  std::vector<float> next(static_cast<size_t>(h));
  for (int64_t t = 0; t < y.size(0); ++t) {
    for (int64_t k = 0; k < y.size(1); ++k) {
      for (int64_t j = 0; j < h; ++j) {
        double sum = double{post(t, j)} * y(t, k);
        for (int64_t i = 0; i < h; ++i) sum += double{mix(t, i, j)} * streams(t, i, k);
        next[static_cast<size_t>(j)] = static_cast<float>(sum);
      }
      for (int64_t j = 0; j < h; ++j) streams(t, j, k) = next[static_cast<size_t>(j)];
    }
  }
}

void RefOps::do_pool_slots(const RowLists& values, const RowLists& scores, Matrix<float> out) {
  for (int64_t entry = 0; entry < out.size(0); ++entry) {
    const auto u = values.of(entry);
    const auto g = scores.of(entry);
    for (int64_t i = 0; i < out.size(1); ++i) {
      double largest = -std::numeric_limits<double>::infinity();
      for (const float* slot : g) largest = std::max(largest, double{slot[i]});
      double total = 0;
      double sum = 0;
      for (size_t s = 0; s < g.size(); ++s) {
        const double p = std::exp(g[s][i] - largest);
        total += p;
        sum += p * u[s][i];
      }
      out(entry, i) = static_cast<float>(sum / total);
    }
  }
}

void RefOps::do_encode_entries(Matrix<const float> x, const EntryFormat& format,
                               Matrix<std::byte> out) {
  for (int64_t t = 0; t < x.size(0); ++t) encode_entry(format, &x(t, 0), &out(t, 0));
}

void RefOps::do_indexer_scores(View<const float, 3> q, Matrix<const float> w,
                               const EntryLists& keys, Rounding rounding, Matrix<float> score) {
  for (int64_t t = 0; t < q.size(0); ++t) {
    const auto rows = decode_rows(keys, t);
    for (size_t j = 0; j < rows.size(); ++j) {
      double sum = 0;
      for (int64_t h = 0; h < q.size(1); ++h) {
        const float similarity = round_if(rounding, dot(&q(t, h, 0), rows[j].data(), q.size(2)));
        const double term = double{std::max(similarity, 0.0f)} * w(t, h);
        sum += rounding == Rounding::kBf16 ? double{round_if(rounding, term)} : term;
      }
      score(t, static_cast<int64_t>(j)) = round_if(rounding, sum);
    }
  }
}

void RefOps::do_top_k(Matrix<const float> scores, std::span<const int64_t> counts, TopKOrder order,
                      Matrix<int32_t> ids) {
  for (int64_t t = 0; t < ids.size(0); ++t) {
    std::vector<int32_t> all(static_cast<size_t>(counts[static_cast<size_t>(t)]));
    std::iota(all.begin(), all.end(), 0);
    std::ranges::stable_sort(
        all, [&](int32_t a, int32_t b) { return rank_of(scores(t, a)) > rank_of(scores(t, b)); });
    all.resize(std::min(all.size(), static_cast<size_t>(ids.size(1))));
    if (order == TopKOrder::kByIndex) std::ranges::sort(all);
    all.resize(static_cast<size_t>(ids.size(1)), -1);
    for (int64_t i = 0; i < ids.size(1); ++i) ids(t, i) = all[static_cast<size_t>(i)];
  }
}

void RefOps::do_attend(View<const float, 3> q, const EntryLists& keys, std::span<const float> sink,
                       float scale, Rounding rounding, View<float, 3> o) {
  constexpr size_t kBlock = 64;  // of the running maximum; matters only with rounding
  const int64_t c = q.size(2);
  std::vector<double> sum(static_cast<size_t>(c));
  for (int64_t t = 0; t < q.size(0); ++t) {
    const auto rows = decode_rows(keys, t);
    for (int64_t h = 0; h < q.size(1); ++h) {
      double largest = -std::numeric_limits<double>::infinity();
      double total = 0;
      std::ranges::fill(sum, 0.0);
      for (size_t begin = 0; begin < rows.size(); begin += kBlock) {
        const auto block = std::span(rows).subspan(begin, std::min(kBlock, rows.size() - begin));
        const double before = largest;
        for (const auto& row : block) {
          if (row.empty()) continue;
          largest = std::max(largest, dot(&q(t, h, 0), row.data(), c) * scale);
        }
        const double rescale = total == 0 ? 0 : std::exp(before - largest);
        total *= rescale;
        for (double& value : sum) value *= rescale;
        for (const auto& row : block) {
          if (row.empty()) continue;
          const double p = std::exp(dot(&q(t, h, 0), row.data(), c) * scale - largest);
          total += p;
          const double weight = rounding == Rounding::kBf16 ? double{round_if(rounding, p)} : p;
          for (int64_t i = 0; i < c; ++i)
            sum[static_cast<size_t>(i)] += weight * row[static_cast<size_t>(i)];
        }
      }
      const double with_sink = std::max(largest, double{sink[static_cast<size_t>(h)]});
      const double shrink = std::exp(largest - with_sink);
      total = total * shrink + std::exp(sink[static_cast<size_t>(h)] - with_sink);
      for (int64_t i = 0; i < c; ++i) {
        o(t, h, i) = static_cast<float>(sum[static_cast<size_t>(i)] * shrink / total);
      }
    }
  }
}

void RefOps::do_sqrt_softplus(Matrix<float> scores) {
  for (int64_t t = 0; t < scores.size(0); ++t) {
    for (int64_t i = 0; i < scores.size(1); ++i) {
      const double x = scores(t, i);
      scores(t, i) = static_cast<float>(std::sqrt(x > 20 ? x : std::log1p(std::exp(x))));
    }
  }
}

void RefOps::do_swiglu(Matrix<const float> gate, Matrix<const float> up, float limit,
                       std::span<const float> row_weight, Matrix<float> out) {
  for (int64_t t = 0; t < gate.size(0); ++t) {
    const double weight = row_weight.empty() ? 1.0 : double{row_weight[static_cast<size_t>(t)]};
    for (int64_t i = 0; i < gate.size(1); ++i) {
      double g = gate(t, i);
      double u = up(t, i);
      if (limit > 0) {
        g = std::min(g, double{limit});
        u = std::clamp(u, -double{limit}, double{limit});
      }
      out(t, i) = static_cast<float>(weight * (g * sigmoid(g) * u));
    }
  }
}

void RefOps::do_experts_int8(const Int8Rows& x, std::span<const ExpertGroup> groups, float limit,
                             const ExpertScratch& scratch, Matrix<float> y) {
  for (const ExpertGroup& group : groups) {
    const auto n = static_cast<int64_t>(group.rows.size());
    const auto of_group = [n](const Int8Rows& rows) {
      return Int8Rows{rows.values.slice(0, n), rows.scales.slice(0, n), rows.sums.slice(0, n),
                      rows.order};
    };
    const Int8Rows inputs = of_group(scratch.x[0]);
    for (int64_t i = 0; i < n; ++i) {
      const int32_t row = group.rows[static_cast<size_t>(i)];
      std::copy_n(&x.values(row, 0), x.values.size(1), &inputs.values(i, 0));
      std::copy_n(&x.scales(row, 0), x.scales.size(1), &inputs.scales(i, 0));
      std::copy_n(&x.sums(row, 0), x.sums.size(1), &inputs.sums(i, 0));
    }
    const Matrix<float> gate = scratch.gate.slice(0, n);
    const Matrix<float> up = scratch.up.slice(0, n);
    linear_int8({inputs.values, inputs.scales, inputs.sums, x.order}, *group.w1, gate);
    linear_int8({inputs.values, inputs.scales, inputs.sums, x.order}, *group.w3, up);
    swiglu(gate, up, limit, group.weights, gate);
    const Int8Rows hidden = of_group(scratch.hidden[0]);
    quantize_int8(gate, hidden);
    linear_int8(hidden, *group.w2, scratch.y.slice(0, n));
    scatter_add_rows(scratch.y.slice(0, n), group.rows, y);
  }
}

}  // namespace dsv4::ref
