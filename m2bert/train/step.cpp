#include "m2bert/train/step.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "m2bert/io/interrupt.h"
#include "m2bert/io/log.h"
#include "m2bert/models/cast.h"
#include "m2bert/nn/grad_cache.h"
#include "m2bert/ops/gradients.h"

namespace m2bert::train {

namespace {

// Hashes two numbers into one: seeds that are near one another must not give similar dropout keys. Source: splitmix64.
uint64_t mix(uint64_t a, uint64_t b) {
  uint64_t x = a + 0x9e3779b97f4a7c15 * (b + 1);
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

void accumulate(nn::Arrays& sum, nn::Arrays grads) {
  if (sum.empty()) {
    sum = std::move(grads);
    return;
  }
  std::vector<mx::array*> to;
  for (auto& a : sum) to.push_back(&a);
  ops::axpby(to, grads, 1, 1);
}

// In MLX's graph.
mx::array lazy_sum_of(const nn::Arrays& losses) {
  auto sum = mx::array(0.0f);
  for (const auto& loss : losses) sum = sum + loss;
  return sum;
}

double sum_of(nn::Arrays& losses) {
  double sum = 0;
  for (auto& loss : losses) sum += double(loss.item<float>());
  return sum;
}

}  // namespace

bool Gradient::finite() const { return std::isfinite(loss) && std::isfinite(norm); }

Step::Step(models::Model& model, const tasks::Task& task, optim::AdamW& optimizer, const Processes& processes, const StepOptions& options)
    : model_(model), task_(task), optimizer_(optimizer), processes_(processes), options_(options) {}

// The dropout key follows from the place in the global batch: several processes draw the same masks as one.
mx::array Step::key_of(const data::Batch& batch, int first, int64_t number) const {
  const auto place = uint64_t(processes_.rank()) * uint64_t(batch.rows) + uint64_t(first);
  return mx::random::key(mix(mix(options_.seed, uint64_t(number)), place));
}

// The first microbatch from row `first` on that has a weight.
std::optional<Step::Microbatch> Step::microbatch(const data::Batch& batch, int64_t number, int first) const {
  const int piece = tasks::microbatch_rows(task_, batch, options_.microbatch_rows);
  for (; first < batch.rows; first += piece) {
    const int rows = std::min(piece, batch.rows - first);
    if (const int64_t weight = task_.weight(batch, first, rows); weight != 0) return Microbatch{&batch, number, first, rows, weight};
  }
  return std::nullopt;
}

// A float32 scalar.
mx::array Step::share_of(const Microbatch& m, const Gradient& whole) const {
  if (options_.weighting == Weighting::task) return mx::array(float(double(m.weight) / double(whole.weight)));
  return mx::array(float(double(m.rows / task_.rows_per_sample()) / double(whole.samples)));
}

mx::array Step::loss(const Microbatch& m, const mx::array& share) {
  const models::ScopedCast cast(model_, options_.compute);  // of frozen weights too, which value_and_grad does not restore
  auto pass = nn::Pass::training(key_of(*m.batch, m.first, m.number));
  return task_.loss(model_, *m.batch, m.first, m.rows, pass) * share;
}

// The loss and gradient of a microbatch, not evaluated. Its graph may be there already.
nn::ValueAndGrad Step::graph(const Microbatch& m, const mx::array& share) {
  auto ahead = std::exchange(ahead_, std::nullopt);
  const auto* ids = m.batch->input_ids.data();
  if (ahead && ahead->input_ids == ids && ahead->number == m.number && ahead->first == m.first && ahead->rows == m.rows) {
    nn::bind(ahead->share, share);
    return std::move(ahead->gradient).bind();
  }
  return nn::value_and_grad(optimizer_.parameters(), [&] { return loss(m, share); });
}

// Without effect for a task that evaluates something while the graph is built: its graph is built when its turn comes. Whatever else is
// wrong shows up then too.
void Step::build_ahead(const std::function<std::optional<Microbatch>()>& next) {
  try {
    const auto m = next();
    if (!m) return;
    const auto share = nn::placeholder({}, mx::float32);
    nn::DeferredGrad gradient(optimizer_.parameters(), [&] { return loss(*m, share); });
    ahead_.emplace(GraphAhead{m->batch->input_ids.data(), m->number, m->first, m->rows, share, std::move(gradient)});
  } catch (const std::exception& e) {
    io::debug("the next graph is not built ahead: ", e.what());
    ahead_.reset();
  }
}

// Builds a graph until get() returns. It is for the streams of this thread, where it will be evaluated. The arrays that are not trained are
// in the graphs of both threads, and evaluating one that is lazy would change it.
std::future<void> Step::building(std::function<void()> build) {
  const bool on_gpu = mx::default_device() == mx::Device(mx::Device::gpu);
  if (!options_.builds_on_thread.value_or(on_gpu)) return std::async(std::launch::deferred, std::move(build));
  nn::Arrays lazy;
  for (const auto& a : nn::named_arrays(model_)) {
    if (a.array->status() == mx::array::unscheduled) lazy.push_back(*a.array);
  }
  mx::eval(std::move(lazy));
  const std::array streams{mx::default_stream(mx::Device::cpu), mx::default_stream(mx::default_device())};
  return std::async(std::launch::async, [build = std::move(build), streams] {
    for (const auto stream : streams) mx::set_default_stream(stream);
    build();
  });
}

bool Step::defers_loss() const {
  return processes_.size() == 1 && !task_.whole_batch() &&
         options_.defers_loss.value_or(mx::default_device() == mx::Device(mx::Device::gpu));
}

bool Step::sums_in_graph() const {
  return processes_.size() > 1 && options_.sums_in_graph.value_or(mx::default_device() == mx::Device(mx::Device::gpu));
}

std::optional<Gradient> Step::gradient(const data::Batch& batch, int64_t number, const std::function<const data::Batch*()>& next) {
  auto started = start(batch, number, next);
  if (!started) return std::nullopt;
  return finish(std::move(*started));
}

std::optional<StartedGradient> Step::start(const data::Batch& batch, int64_t number, const std::function<const data::Batch*()>& next) {
  const auto totals = processes_.sum_counts({batch.rows / task_.rows_per_sample(), int64_t(batch.rows) * batch.length,
                                             task_.weight(batch, 0, batch.rows), io::interrupted() ? 1 : 0});
  if (totals[3] > 0) return std::nullopt;
  StartedGradient started;
  auto& g = started.gradient;
  g.samples = totals[0], g.tokens = totals[1], g.weight = totals[2];
  if (const auto* whole = task_.whole_batch()) {
    auto found = whole_batch_gradient(*whole, batch, number, std::move(g));
    if (!found) return std::nullopt;
    g = std::move(*found);
    return started;
  }
  const bool defers = defers_loss(), in_graph = sums_in_graph();
  bool stop = false;
  std::future<void> ahead;
  for (auto now = microbatch(batch, number, 0); now && !stop;) {
    const auto following = microbatch(batch, number, now->first + now->rows);
    auto part = graph(*now, share_of(*now, g));
    started.losses.push_back(part.value);
    auto all = part.grads;
    all.push_back(part.value);
    const bool is_whole = !following && g.arrays.empty();
    if (defers && is_whole) {
      started.sum_of_squares = ops::sum_of_squares(part.grads);  // in the same graph
      all.push_back(*started.sum_of_squares);
    }
    ahead = building([&, following] {
      build_ahead([&, following] {
        const data::Batch* next_batch = following || !next ? nullptr : next();
        return next_batch ? microbatch(*next_batch, number + 1, 0) : following;
      });
    });
    if (!(in_graph && is_whole)) {
      mx::async_eval(all);
      ahead.get();
      if (!defers) mx::eval(all);
    }
    all.clear();
    accumulate(g.arrays, std::move(part.grads));
    stop = io::interrupted();
    now = following;
  }
  if (!in_graph && processes_.any(stop)) return std::nullopt;
  if (g.arrays.empty()) {
    for (const auto& p : optimizer_.parameters()) g.arrays.push_back(mx::zeros_like(*p.array));
  }
  if (in_graph) {
    auto summed = sum_in_graph(std::move(g), started.losses, stop, std::move(ahead));
    if (!summed) return std::nullopt;
    return StartedGradient{std::move(*summed)};
  }
  if (!defers) {
    g.loss = processes_.sum_value(sum_of(started.losses));
    sum_over_processes(g);
  } else if (!started.is_deferred()) {
    started.sum_of_squares = ops::sum_of_squares(g.arrays);
    mx::async_eval({*started.sum_of_squares});
  }
  return started;
}

// The sums over all processes of the gradients, which may be lazy, of the losses, and of whether a process was asked to stop: then nullopt.
// ahead: what to wait for in the meantime.
std::optional<Gradient> Step::sum_in_graph(Gradient g, const nn::Arrays& losses, bool stop, std::future<void> ahead) {
  auto all = g.arrays;
  all.insert(all.begin(), mx::concatenate({mx::reshape(lazy_sum_of(losses), {1}),
                                           mx::array({stop ? 1.0f : 0.0f})}));  // the last one in the order of sums
  processes_.sum_lazily(all, last_sum_);
  g.arrays.assign(all.begin() + 1, all.end());
  auto squares = ops::sum_of_squares(g.arrays);
  all.push_back(squares);
  mx::async_eval(all);
  if (ahead.valid()) ahead.get();
  processes_.wait_for({all[0], squares});
  if (mx::take(all[0], 1).item<float>() > 0) return std::nullopt;
  g.loss = double(mx::take(all[0], 0).item<float>());
  g.norm = std::sqrt(double(squares.item<float>()));
  return g;
}

Gradient Step::finish(StartedGradient started) {
  auto& g = started.gradient;
  if (!started.is_deferred()) return std::move(g);
  g.loss = sum_of(started.losses);
  g.norm = std::sqrt(double(started.sum_of_squares->item<float>()));
  if (g.updated && !g.finite()) optimizer_.set_steps(optimizer_.steps() - 1);
  return std::move(g);
}

void Step::sum_over_processes(Gradient& gradient) const {
  processes_.sum_arrays(gradient.arrays);
  gradient.norm = ops::global_norm(gradient.arrays);
}

// Labels and targets of the batches of all processes, without their tokens.
data::Batch Step::labels_of_all(const data::Batch& batch) const {
  data::Batch all;
  all.rows = batch.rows * processes_.size();
  std::vector<int64_t> labels(size_t(all.rows), 0);
  std::ranges::copy(batch.labels, labels.begin() + std::ptrdiff_t(batch.rows) * processes_.rank());
  labels = processes_.sum_counts(labels);
  all.labels.assign(labels.begin(), labels.end());
  all.targets = processes_.gather(batch.targets);
  return all;
}

mx::array Step::embed(const tasks::BatchLoss& task, const data::Batch& batch, int piece, int64_t number) {
  const models::ScopedCast cast(model_, options_.compute);
  const int first = piece * options_.microbatch_rows;
  const int rows = options_.microbatch_rows > 0 ? std::min(options_.microbatch_rows, batch.rows - first) : batch.rows;
  auto pass = nn::Pass::training(key_of(batch, first, number));
  return task.embed(model_, batch, first, rows, pass);
}

// The loss of the embeddings of all processes. Each process then computes the gradient of its own rows, microbatch by microbatch.
std::optional<Gradient> Step::whole_batch_gradient(const tasks::BatchLoss& task, const data::Batch& batch, int64_t number, Gradient g) {
  const int size = processes_.size(), own = batch.rows * processes_.rank();
  require(processes_.sum_counts({batch.rows})[0] == int64_t(batch.rows) * size,
          "the processes have batches of different sizes; set drop_last: true in train_loader");
  const auto all = labels_of_all(batch);
  const int rows = options_.microbatch_rows > 0 ? options_.microbatch_rows : batch.rows;
  auto embeddings = mx::zeros({1});  // of all rows
  nn::CachedLoss cached{(batch.rows + rows - 1) / rows, [&](int piece) { return embed(task, batch, piece, number); }, {}};
  cached.loss = [&](const nn::Arrays& pieces) {
    embeddings = processes_.gather_rows(mx::concatenate(pieces, 0));
    auto found = nn::loss_and_grad({embeddings}, [&](const nn::Arrays& e) { return task.batch_loss(e[0], all, size); });
    nn::ValueAndGrad split{found.value, {}};
    for (int first = own; const auto& piece : pieces) {
      split.grads.push_back(mx::slice(found.grads[0], {first, 0}, {first + piece.shape(0), piece.shape(1)}));
      first += piece.shape(0);
    }
    return split;
  };
  auto at_once = [&] {
    auto found = nn::value_and_grad(optimizer_.parameters(), [&] {
      embeddings = embed(task, batch, 0, number);
      return task.batch_loss(embeddings, all, 1);
    });
    auto arrays = found.grads;
    arrays.insert(arrays.end(), {found.value, embeddings});
    mx::eval(arrays);
    return found;
  };
  // Several processes stop together, after the gradient: each of them waits for the embeddings of the others.
  auto stop = [size] { return size == 1 && io::interrupted(); };
  auto found = cached.pieces == 1 && size == 1 ? at_once() : nn::cached_value_and_grad(optimizer_.parameters(), cached, stop);
  if (processes_.any(found.grads.empty() || io::interrupted())) return std::nullopt;
  g.loss = found.value.item<float>();
  g.arrays = std::move(found.grads);
  sum_over_processes(g);
  task.after_gradient(embeddings, all, size);
  return g;
}

void Step::dry_run(int rows, int length) {
  const auto batch = task_.dummy_batch(rows, length);
  const auto* whole = task_.whole_batch();
  if (!whole) {
    auto found = graph({&batch, 0, 0, rows, 0}, mx::array(1.0f));
    found.grads.push_back(found.value);
    mx::eval(found.grads);
    return;
  }
  auto found = nn::value_and_grad(optimizer_.parameters(), [&] {
    const models::ScopedCast cast(model_, options_.compute);
    auto pass = nn::Pass::training(key_of(batch, 0, 0));
    return mx::sum(whole->embed(model_, batch, 0, rows, pass));
  });
  mx::eval(found.grads);
}

void Step::update(Gradient& gradient, double factor) { optimizer_.step(gradient.arrays, factor, options_.clipping, gradient.norm); }

void Step::update(StartedGradient& started, double factor) {
  optimizer_.step(started.gradient.arrays, factor, options_.clipping, started.sum_of_squares.value(), lazy_sum_of(started.losses));
  started.gradient.updated = true;
}

}  // namespace m2bert::train
