#include "m2bert/train/step.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
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

// Whether the gradient of a batch is that of a single microbatch.
bool Step::is_one_graph(const data::Batch& batch) const {
  const auto first = microbatch(batch, 0, 0);
  return first && !microbatch(batch, 0, first->first + first->rows);
}

Counts Step::counts_of(const data::Batch& batch) const {
  return {batch.rows / task_.rows_per_sample(), int64_t(batch.rows) * batch.length, task_.weight(batch, 0, batch.rows)};
}

// A float32 scalar.
mx::array Step::share_of(const Microbatch& m, const Counts& whole) const {
  if (options_.weighting == Weighting::task) return mx::array(float(double(m.weight) / double(whole.weight)));
  const int samples = m.rows / task_.rows_per_sample();
  return mx::array(float(double(samples) / double(whole.samples)));
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

bool Step::sums_in_graph() const {
  return processes_.size() > 1 && options_.sums_in_graph.value_or(mx::default_device() == mx::Device(mx::Device::gpu));
}

bool Step::defers_loss() const {
  return (processes_.size() == 1 || sums_in_graph()) && !task_.whole_batch() &&
         options_.defers_loss.value_or(mx::default_device() == mx::Device(mx::Device::gpu));
}

bool Step::may_start_early(int64_t number) const { return processes_.size() == 1 || agreed_.contains(number); }

// Without a wait for the other processes if they have agreed on it. nullopt if one was asked to stop.
std::optional<Step::Totals> Step::totals_of(const data::Batch& batch, int64_t number) {
  if (const auto agreed = agreed_.extract(number)) return Totals{agreed.mapped(), true};
  const auto own = counts_of(batch);
  const bool one_graph = defers_loss() && is_one_graph(batch);
  const auto sums = processes_.sum_counts({own.samples, own.tokens, own.weight, one_graph ? 1 : 0, io::interrupted() ? 1 : 0});
  if (sums[4] > 0) return std::nullopt;
  return Totals{{sums[0], sums[1], sums[2]}, sums[3] == processes_.size()};
}

// batch: the one after the next one, null if it is not known.
Vote Step::vote_on(const data::Batch* batch) const {
  if (io::interrupted()) return {.stop = true};
  if (!batch || !is_one_graph(*batch)) return {};
  return {.ready = counts_of(*batch)};
}

std::optional<Gradient> Step::gradient(const data::Batch& batch, int64_t number, const Lookahead& ahead) {
  auto started = start(batch, number, ahead);
  if (!started) return std::nullopt;
  return finish(std::move(*started));
}

std::optional<StartedGradient> Step::start(const data::Batch& batch, int64_t number, const Lookahead& ahead) {
  const auto totals = totals_of(batch, number);
  if (!totals) return std::nullopt;
  StartedGradient started{{totals->counts}, number};
  auto& g = started.gradient;
  if (const auto* whole = task_.whole_batch()) {
    auto found = whole_batch_gradient(*whole, batch, number, std::move(g));
    if (!found) return std::nullopt;
    g = std::move(*found);
    return started;
  }
  const bool in_graph = sums_in_graph(), defers = defers_loss() && (processes_.size() == 1 || totals->one_graph);
  // Fetches both batches that follow, before another thread asks for the first one.
  auto vote = in_graph ? vote_on(defers_loss() && ahead ? ahead(2) : nullptr) : Vote{};
  const bool stop = add_microbatches(started, batch, defers, vote, ahead);
  if (!in_graph && processes_.any(stop)) return std::nullopt;
  if (g.arrays.empty()) {
    for (const auto& p : optimizer_.parameters()) g.arrays.push_back(mx::zeros_like(*p.array));
  }
  if (!in_graph && !defers) {
    g.loss = processes_.sum_value(sum_of(started.losses));
    sum_over_processes(g);
  } else if (!started.is_deferred()) {
    if (stop) vote = {.stop = true};
    for (auto& stage : end_of_graph(started, vote)) mx::async_eval(std::move(stage));
  }
  if (!in_graph || defers) return started;
  read_sums(started);
  if (g.stop) return std::nullopt;
  started.sum_of_squares.reset();
  return started;
}

// The sum of the gradients of the microbatches. That of a single one gets the end of its graph with it where that is to be. True if this
// process was asked to stop, maybe before all of them were added.
bool Step::add_microbatches(StartedGradient& started, const data::Batch& batch, bool defers, const Vote& vote, const Lookahead& ahead) {
  auto& sum = started.gradient.arrays;
  for (auto now = microbatch(batch, started.number, 0); now;) {
    const auto following = microbatch(batch, started.number, now->first + now->rows);
    auto part = graph(*now, share_of(*now, started.gradient));
    started.losses.push_back(part.value);
    const bool ends = (defers || sums_in_graph()) && !following && sum.empty();
    auto all = [&] {
      nn::Arrays arrays = part.grads;
      arrays.push_back(part.value);
      return arrays;
    };
    std::vector<nn::Arrays> stages;
    if (ends) {
      mx::async_eval(part.value);  // the device begins while the rest of the graph is built
      sum = std::move(part.grads);
      stages = end_of_graph(started, vote);
    } else {
      stages.push_back(all());
    }
    auto built = building([&, following] {
      build_ahead([&, following] {
        const data::Batch* next = following || !ahead ? nullptr : ahead(1);
        return next ? microbatch(*next, started.number + 1, 0) : following;
      });
    });
    for (auto& stage : stages) mx::async_eval(std::move(stage));  // what it holds is freed as soon as it is not needed
    built.get();
    if (!defers && !ends) mx::eval(all());
    if (!ends) accumulate(sum, std::move(part.grads));
    if (io::interrupted()) return true;
    now = following;
  }
  return false;
}

// Adds to the graph of the gradient its sum over all processes, where the device computes it, with that of the loss and of the votes, and
// the square of its norm. Returns what to evaluate, one after the other; the last has the sums, the norm, losses and votes.
std::vector<nn::Arrays> Step::end_of_graph(StartedGradient& started, const Vote& vote) {
  auto& g = started.gradient;
  std::vector<nn::Arrays> stages;
  if (sums_in_graph()) {
    nn::Arrays all{lazy_sum_of(started.losses)};  // the first ones are the last in the order of sums
    for (const float value : values_of(vote)) all.push_back(mx::array(value));
    const auto scalars = std::ptrdiff_t(all.size());
    all.insert(all.end(), g.arrays.begin(), g.arrays.end());
    stages = processes_.sum_lazily(all, last_sum_);
    g.arrays.assign(all.begin() + scalars, all.end());
    // In memory of their own: to read a part of a sum, the host would get all gradients that are in it.
    for (auto& value : std::span(all).first(size_t(scalars))) value = value + mx::array(0.0f);
    started.losses = {all[0]};
    started.votes.assign(all.begin() + 1, all.begin() + scalars);
  }
  started.sum_of_squares = ops::sum_of_squares(g.arrays);
  nn::Arrays all = g.arrays;
  all.push_back(*started.sum_of_squares);
  all.insert(all.end(), started.losses.begin(), started.losses.end());
  all.insert(all.end(), started.votes.begin(), started.votes.end());
  stages.push_back(std::move(all));
  return stages;
}

void Step::wait_for_others(const StartedGradient& started) const {
  if (!started.votes.empty()) processes_.wait_for(started.votes);
}

// Loss and norm, once they are there, and what the processes have agreed on.
void Step::read_sums(StartedGradient& started) {
  wait_for_others(started);
  auto& g = started.gradient;
  g.loss = sum_of(started.losses);
  g.norm = std::sqrt(double(started.sum_of_squares->item<float>()));
  if (started.votes.empty()) return;
  std::vector<float> votes;
  for (auto& vote : started.votes) votes.push_back(vote.item<float>());
  const auto outcome = outcome_of(votes, processes_.size());
  g.stop = outcome.stop;
  if (outcome.totals) agreed_.insert_or_assign(started.number + 2, *outcome.totals);
}

Gradient Step::finish(StartedGradient started) {
  auto& g = started.gradient;
  if (!started.is_deferred()) return std::move(g);
  read_sums(started);
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
