// m2bert serve: models behind HTTP.
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <memory>
#include <thread>

#include "cli/blocked_signals.h"
#include "cli/choice.h"
#include "cli/command.h"
#include "cli/model_option.h"
#include "cli/quantizer_option.h"
#include "cli/runtime.h"
#include "m2bert/error.h"
#include "m2bert/http/server.h"
#include "m2bert/io/file.h"
#include "m2bert/io/json.h"
#include "m2bert/io/log.h"
#include "m2bert/io/temporaries.h"
#include "m2bert/io/yaml.h"
#include "m2bert/serve/api.h"
#include "m2bert/serve/service.h"
#include "m2bert/threads.h"

namespace m2bert::cli {
namespace {

namespace fs = std::filesystem;

struct ServeCommand {
  CLI::App* app = nullptr;
  std::string settings;
  ModelOption model;
  std::vector<std::string> models, served_names;
  std::string task, pooling, pad, truncation_side, prompt, prompt_name, calibration, log_format = "text";
  bool normalize = false, no_normalize = false, no_request_log = false, json_log = false;
  int max_length = 0, dimensions = 0;
  int port = 8080, workers = 0, io_threads = 1;
  std::string host = "127.0.0.1", unix_socket, key, key_file, tls_cert, tls_key;
  std::vector<std::string> cors;
  double queue_timeout = 60, drain_timeout = 30, header_timeout = 10, body_timeout = 60, idle_timeout = 75, write_timeout = 60;
  int64_t payload_limit = 8 << 20, max_batch_tokens = 16384, max_batch_rows = 1024, max_queue_tokens = 16 << 20, max_connections = 8192;
  serve::ServiceOptions service;
  serve::ApiOptions api;
};

// A model of the command line: its names, the first of which responses show, and where it is.
struct ModelArgument {
  std::vector<std::string> names;
  std::string where;
};

// NAME=MODEL or MODEL.
ModelArgument model_argument(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals != std::string::npos && equals > 0 && !fs::exists(text)) return {{text.substr(0, equals)}, text.substr(equals + 1)};
  ModelArgument argument{{}, text};
  std::error_code error;
  if (!fs::exists(text, error)) {  // a name on the hub
    argument.names = {text.substr(0, text.find('@'))};
    return argument;
  }
  const fs::path path = fs::canonical(text, error);
  argument.names = {fs::is_directory(path) ? path.filename().string() : path.stem().string(), text};
  return argument;
}

std::vector<ModelArgument> model_arguments(const ServeCommand& command) {
  std::vector<ModelArgument> all;
  for (const std::string& text : command.models) all.push_back(model_argument(text));
  if (all.empty()) throw UsageError("no model: m2bert serve MODEL, or --model NAME=MODEL for each of several");
  if (all.size() > 1 && (!command.model.config.empty() || !command.model.tokenizer.empty()))
    throw UsageError(
        "--config and --tokenizer are for one model; make folders of checkpoints first: m2bert convert FILE FOLDER --config RECIPE");
  if (!command.served_names.empty()) {
    if (all.size() > 1) throw UsageError("--served-model-name is for one model; several are named by --model NAME=MODEL");
    all.front().names.insert(all.front().names.begin(), command.served_names.begin(), command.served_names.end());
  }
  return all;
}

infer::EmbedOptions embed_options(const ServeCommand& command) {
  infer::EmbedOptions options;
  if (command.pad == "max_length" || command.pad == "max") options.pad = infer::PadMode::max;
  if (command.pad == "bucket") options.pad = infer::PadMode::bucket;
  if (command.max_length > 0) options.max_length = command.max_length;
  if (command.dimensions > 0) options.dimensions = command.dimensions;
  if (!command.pooling.empty()) options.pooling = models::poolings_named(command.pooling);
  if (command.normalize) options.normalize = true;
  if (command.no_normalize) options.normalize = false;
  options.truncation_side = truncation_side_named(command.truncation_side);
  return options;
}

serve::TaskChoice task_of(const ServeCommand& command, const models::Pretrained& pretrained) {
  if (command.task.empty()) return serve::choose_task(pretrained);
  return {command.task == "embed" ? serve::ModelTask::embed : serve::ModelTask::classify, "--task " + command.task};
}

// The prompt of --default-prompt-name or --default-prompt, if there is one.
std::optional<std::string> default_prompt(const ServeCommand& command, const models::Pretrained& pretrained, const std::string& where) {
  if (command.prompt_name.empty()) return command.prompt.empty() ? std::nullopt : std::optional(command.prompt);
  require(pretrained.prompts.contains(command.prompt_name), where, ": the model has no prompt called ", command.prompt_name,
          " (--default-prompt-name)");
  return command.prompt_name;
}

std::string what_it_does(const serve::ServedModel& model) {
  if (model.task() == serve::ModelTask::embed)
    return "embeds, " + std::to_string(model.embedder().dim()) + " dimensions, pooling " + model.pooling_name();
  const size_t labels = model.classifier().labels().size();
  return "classifies, " + std::to_string(labels) + (labels == 1 ? " label" : " labels");
}

void log_model(const serve::ServedModel& model, int64_t max_batch_tokens) {
  io::info(model.name(), ": ", what_it_does(model), ", at most ", model.max_length(), " tokens, padding ", model.padding_name(),
           ". Task: ", model.task_reason());
  if (model.max_length() > max_batch_tokens)
    io::info(model.name(), ": a text of ", model.max_length(), " tokens is more than --max-batch-tokens ", max_batch_tokens,
             ", so it runs alone");
}

std::unique_ptr<serve::ServedModel> load_served(const ServeCommand& command, const ModelArgument& argument) {
  ModelOption option = command.model;
  option.model = argument.where;
  models::Pretrained pretrained = load_model(option);
  infer::EmbedOptions options = embed_options(command);
  if (const auto prompt = default_prompt(command, pretrained, argument.where)) options.prompt = prompt;
  const serve::TaskChoice task = task_of(command, pretrained);
  auto model = std::make_unique<serve::ServedModel>(argument.names.front(), std::move(pretrained), task, options);
  if (!command.calibration.empty()) model->set_ranges(read_ranges(command.calibration, static_cast<size_t>(model->embedder().dim())));
  log_model(*model, command.max_batch_tokens);
  return model;
}

// One key a line; empty lines and lines that begin with # are left out.
std::vector<std::string> read_keys(const ServeCommand& command) {
  std::vector<std::string> keys;
  if (!command.key.empty()) keys.push_back(command.key);
  if (command.key_file.empty()) return keys;
  std::istringstream lines(io::read_file(command.key_file));
  const size_t before = keys.size();
  for (std::string line; std::getline(lines, line);) {
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
    if (!line.empty() && line.front() != '#') keys.push_back(line);
  }
  require(keys.size() > before, command.key_file, ": holds no API key (one a line)");
  std::error_code ignored;
  if ((fs::status(command.key_file, ignored).permissions() & fs::perms::others_read) != fs::perms::none)
    io::warn(command.key_file, ": every user of this machine can read the API keys (chmod o-r)");
  return keys;
}

std::chrono::milliseconds milliseconds(double seconds) { return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000)); }

http::ServerOptions server_options(const ServeCommand& command) {
  http::ServerOptions options;
  options.host = command.host;
  options.port = static_cast<uint16_t>(command.port);
  options.unix_socket = command.unix_socket;
  options.tls_cert = command.tls_cert;
  options.tls_key = command.tls_key;
  options.io_threads = command.io_threads;
  options.limits.body_bytes = static_cast<size_t>(command.payload_limit);
  options.limits.connections = static_cast<size_t>(command.max_connections);
  options.limits.header_timeout = milliseconds(command.header_timeout);
  options.limits.body_timeout = milliseconds(command.body_timeout);
  options.limits.idle_timeout = milliseconds(command.idle_timeout);
  options.limits.write_timeout = milliseconds(command.write_timeout);
  return options;
}

serve::EngineOptions engine_options(const ServeCommand& command) {
  serve::EngineOptions options;
  options.max_batch_tokens = command.max_batch_tokens;
  options.max_batch_rows = command.max_batch_rows;
  options.max_queue_tokens = command.max_queue_tokens;
  options.queue_timeout = milliseconds(command.queue_timeout);
  return options;
}

// Waits for signals: SIGTERM and SIGINT drain, the second one ends at once, as does the first if drain() returns false; SIGHUP reads keys
// and certificates again.
class SignalThread {
 public:
  SignalThread(std::function<bool()> drain, std::function<void()> reload) {
    thread_ = std::thread([this, drain = std::move(drain), reload = std::move(reload)] {
      for (int stops = 0;;) {
        int signal = 0;
        const sigset_t set = signals();
        if (::sigwait(&set, &signal) != 0) continue;
        if (signal == SIGUSR2 && ended_) return;
        if (signal == SIGHUP) reload();
        if (signal != SIGTERM && signal != SIGINT) continue;
        if (++stops > 1 || !drain()) end_by(signal);
      }
    });
  }
  ~SignalThread() {
    ended_ = true;
    ::pthread_kill(thread_.native_handle(), SIGUSR2);
    thread_.join();
  }
  SignalThread(const SignalThread&) = delete;
  SignalThread& operator=(const SignalThread&) = delete;

  static sigset_t signals() {
    sigset_t set;
    ::sigemptyset(&set);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR2}) ::sigaddset(&set, signal);
    return set;
  }

 private:
  [[noreturn]] static void end_by(int signal) {
    io::remove_temporaries();
    ::_exit(128 + signal);
  }

  std::atomic<bool> ended_{false};
  std::thread thread_;
};

// The server with what is behind it, in the order in which it ends.
class RunningServer {
 public:
  // Listens; requests are refused until load() has returned.
  RunningServer(const ServeCommand& command, const Globals& globals, const std::vector<std::string>& keys)
      : command_(command),
        globals_(globals),
        engine_(engine_options(command)),
        workers_(std::make_unique<serve::Workers>(command.workers > 0 ? command.workers : std::max(2, available_cpus() / 2))),
        service_(command.service, engine_, *workers_, metrics_),
        api_(std::make_shared<serve::Api>(command.api, service_)) {
    api_->set_keys(keys);
    http::raise_open_files_limit();
    server_ = std::make_unique<http::Server>(server_options(command), api_);
    api_->set_connections([this] { return server_->connections(); });
    serving_ = std::thread([this] { server_->run(); });
  }
  ~RunningServer() {
    server_->stop();
    wait();
    engine_.stop();
    workers_.reset();  // its jobs use the others
  }
  RunningServer(const RunningServer&) = delete;
  RunningServer& operator=(const RunningServer&) = delete;

  void load(const std::vector<ModelArgument>& arguments) {
    engine_.run([&] {
      set_up_runtime(globals_);
      for (const ModelArgument& argument : arguments)
        service_.add(load_served(command_, argument), {argument.names.begin() + 1, argument.names.end()});
    });
    api_->set_state(serve::Api::State::ready);
    print_ready();
  }
  // Until it has drained.
  void wait() {
    if (serving_.joinable()) serving_.join();
  }
  // False before the models are loaded: there is nothing to wait for.
  bool drain() {
    if (api_->state() == serve::Api::State::starting) return false;
    io::info("draining: no new connections, and requests in progress have ", command_.drain_timeout, " s");
    api_->set_state(serve::Api::State::draining);
    server_->drain(milliseconds(command_.drain_timeout));
    return true;
  }
  // Reads API keys and certificates again.
  void reload() {
    try {
      api_->set_keys(read_keys(command_));
      if (!command_.tls_cert.empty()) server_->reload_tls();
      io::info("API keys and certificates were read again");
    } catch (const std::exception& error) {
      io::warn("the old API keys and certificates stay: ", error.what());
    }
  }

 private:
  std::string address() const {
    if (command_.host.empty()) return "unix:" + command_.unix_socket;
    const std::string host = command_.host.find(':') != std::string::npos ? "[" + command_.host + "]" : command_.host;
    return (command_.tls_cert.empty() ? "http://" : "https://") + host + ":" + std::to_string(server_->port());
  }
  // The one line of stdout.
  void print_ready() const {
    io::Tree names = io::Tree::list(), tasks = io::Tree::list();
    std::string list;
    for (const auto& model : service_.models()) {
      const std::string task = serve::name(model->task());
      names.push_back(model->name());
      tasks.push_back(task);
      list += (list.empty() ? "" : ", ") + model->name() + " (" + task + ")";
    }
    if (globals_.json)
      std::cout << io::to_json(io::Tree{{"ready", true}, {"address", address()}, {"models", names}, {"tasks", tasks}}) << std::endl;
    else std::cout << "ready: " << address() << " serves " << list << std::endl;
  }

  const ServeCommand& command_;
  const Globals& globals_;
  std::unique_ptr<http::Server> server_;  // outlives the others, which hold responses to its connections
  serve::Metrics metrics_;
  serve::Engine engine_;
  std::unique_ptr<serve::Workers> workers_;
  serve::Service service_;
  std::shared_ptr<serve::Api> api_;
  std::thread serving_;
};

// Options that a file and the environment may give: all but those that only print something.
bool is_setting(const CLI::Option& option) {
  const auto& names = option.get_lnames();
  return !names.empty() && names.front() != "help" && names.front() != "version";
}

// The option of this name, of serve or of every command; nullptr: there is none.
CLI::Option* find_option(const ServeCommand& command, const std::string& name) {
  for (CLI::App* app : {command.app, command.app->get_parent()})
    if (CLI::Option* option = app->get_option_no_throw("--" + name); option && is_setting(*option)) return option;
  return nullptr;
}

// The options of a YAML file that neither the command line nor the environment gives. Keys are the names of the options.
void apply_settings(const ServeCommand& command) {
  if (command.settings.empty()) return;
  const io::Tree tree = io::read_yaml(command.settings);
  require(tree.is_map(), command.settings, ": wants options, such as port: 8080");
  std::vector<CLI::Option*> given;
  for (const auto& [key, value] : tree.members()) {
    CLI::Option* option = find_option(command, key);
    require(option != nullptr && key != "settings", value.where(), "there is no option --", key, "; m2bert serve --help lists them");
    require(std::ranges::find(given, option) == given.end(), value.where(), "gives an option a second time, under another name");
    given.push_back(option);
    if (option->count() > 0) continue;
    const std::vector<io::Tree> items = value.is_list() ? value.items() : std::vector<io::Tree>{value};
    if (items.empty()) continue;
    for (const io::Tree& item : items) {
      if (item.is_null() || item.is_map() || item.is_list()) item.wants("a value, or a list of values");
      option->add_result(item.is_string() ? item.string() : io::to_json(item));
    }
    try {
      option->run_callback();
    } catch (const CLI::ParseError& error) {
      fail(value.where(), error.what());
    }
  }
}

std::string variable_of(const CLI::Option& option) {
  std::string name = "M2BERT_" + option.get_lnames().front();
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return c == '-' ? '_' : static_cast<char>(std::toupper(c)); });
  return name;
}

// The options of every command, such as --threads: they have variables in `serve` only.
void apply_environment(const ServeCommand& command) {
  for (CLI::Option* option : command.app->get_parent()->get_options()) {
    if (!is_setting(*option) || option->count() > 0) continue;
    const char* value = std::getenv(variable_of(*option).c_str());
    if (!value || !*value) continue;
    option->add_result(value);
    try {
      option->run_callback();
    } catch (const CLI::ParseError& error) {
      throw UsageError(variable_of(*option) + ": " + error.what());
    }
  }
}

void check_options(const ServeCommand& command) {
  if (command.normalize && command.no_normalize) throw UsageError("--normalize and --no-normalize exclude each other");
  if (command.tls_cert.empty() != command.tls_key.empty()) throw UsageError("--tls-cert and --tls-key go together");
  if (command.host.empty() && command.unix_socket.empty()) throw UsageError("an empty --host wants a --unix-socket");
}

void run_serve(ServeCommand& command, const Globals& globals) {
  apply_environment(command);
  apply_settings(command);
  check_options(command);
  const std::vector<ModelArgument> arguments = model_arguments(command);
  command.api.cors_origins = command.cors;
  command.api.json_log = command.json_log || command.log_format == "json" || globals.json;
  command.api.log_requests = !command.no_request_log && !globals.quiet;
  const std::vector<std::string> keys = read_keys(command);

  const sigset_t set = SignalThread::signals();
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);  // in all threads: SignalThread waits for them
  ::signal(SIGPIPE, SIG_IGN);
  RunningServer server(command, globals, keys);
  const SignalThread signal_thread([&] { return server.drain(); }, [&] { server.reload(); });
  server.load(arguments);
  server.wait();
}

// --max-batch-tokens is also M2BERT_MAX_BATCH_TOKENS.
void name_environment(CLI::App& app) {
  for (CLI::Option* option : app.get_options())
    if (is_setting(*option)) option->envname(variable_of(*option));
}

void add_model_group(CLI::App& app, ServeCommand& command) {
  app.add_option("model,--model,--model-id", command.models,
                 "Model folder, checkpoint or ORG/NAME on the hub; NAME=MODEL gives it a name. Several with --model NAME=MODEL for each")
      ->type_name("MODEL")
      ->take_all();
  app.add_option("--served-model-name", command.served_names, "Name of the model in requests and responses; several are aliases")
      ->type_name("NAME")
      ->take_all();
  app.add_option("--config", command.model.config, "Recipe (YAML) or config.json of a checkpoint file")->type_name("FILE");
  app.add_option("--tokenizer", command.model.tokenizer, "vocab.txt, tokenizer.json or folder (default: the model's)")->type_name("PATH");
  add_dtype(app, command.model.dtype, "Dtype of the weights, also fp32, bf16, fp16 (default: float32, or int8 where the file holds int8)");
  add_choice(app, "--task", command.task, {"embed", "classify"}, "What the model is for (default: classify if it has labels)");
  add_pooling_option(app, command.pooling);
  app.add_flag("--normalize", command.normalize, "Vectors of length 1 (default: the model's)");
  app.add_flag("--no-normalize", command.no_normalize, "Vectors as they are");
  add_number(app, "--dimensions", command.dimensions, 1, 1 << 20, "Keep the first values of each vector (Matryoshka models)");
  app.add_option("--default-prompt-name", command.prompt_name, "The model's prompt in front of each text")->type_name("NAME");
  app.add_option("--default-prompt", command.prompt, "A text in front of each text")->type_name("TEXT");
  add_choice(app, "--padding,--pad", command.pad, {"max_length", "max", "bucket"},
             "Length to which texts are padded where padding changes the vectors (default: max_length,\n"
             "as M2-BERT was trained). bucket: the next of 8, 12, 16, 24, ... that holds the text: faster,\n"
             "with other vectors. Requests may ask for either. Never the length of the neighbours in a batch.");
  add_number(app, "--max-length", command.max_length, 3, 1 << 24, "The most tokens of a text (default: the model's)");
  add_truncation_side_option(app, command.truncation_side);
  app.add_flag("--auto-truncate", command.service.auto_truncate,
               "Truncate texts that are too long unless a request says otherwise; else they are errors");
  app.add_flag("--accept-token-ids", command.service.accept_token_ids, "Accept token ids of the model's vocabulary as inputs");
  add_calibration_option(app, command.calibration, "Vectors (embed's .npy or .safetensors) whose ranges scale int8 and uint8 vectors");
}

void add_server_group(CLI::App& app, ServeCommand& command) {
  app.add_option("--host,--hostname", command.host, "Address to listen on; 0.0.0.0 or :: for all, \"\" for none")
      ->type_name("HOST")
      ->capture_default_str();
  add_number(app, "-p,--port", command.port, 0, 65535, "Port; 0: any free one")->capture_default_str();
  app.add_option("--unix-socket,--uds-path", command.unix_socket, "Unix socket to listen on, beside the port")->type_name("FILE");
  app.add_option("--api-key-file", command.key_file, "API keys, one a line; requests bring one (Authorization: Bearer KEY)")
      ->type_name("FILE");
  app.add_option("--api-key", command.key, "An API key; better in M2BERT_API_KEY or --api-key-file, which other users do not see")
      ->type_name("KEY");
  app.add_option("--tls-cert", command.tls_cert, "Certificate chain (PEM)")->type_name("FILE");
  app.add_option("--tls-key", command.tls_key, "Its private key (PEM)")->type_name("FILE");
  app.add_option("--cors-allow-origin", command.cors, "Web origins that may ask; \"*\" for any (default: none)")
      ->type_name("ORIGIN")
      ->take_all();
  add_choice(app, "--log-format", command.log_format, {"text", "json"}, "Form of the log on stderr");
  app.add_flag("--json-output", command.json_log, "The same as --log-format json");
  app.add_flag("--no-request-log", command.no_request_log, "No line for each request");
  app.add_option("--settings", command.settings, "YAML file of options: port: 8080. The command line and the environment come first")
      ->type_name("FILE");
}

void add_limit_group(CLI::App& app, ServeCommand& command) {
  constexpr int64_t most = int64_t{1} << 40;
  add_number(app, "--max-batch-tokens", command.max_batch_tokens, int64_t{1}, most,
             "Tokens of a batch, padding included; a longer text runs alone")
      ->capture_default_str();
  add_number(app, "--max-batch-requests", command.max_batch_rows, int64_t{1}, most, "Texts of a batch")->capture_default_str();
  add_number(app, "--max-client-batch-size", command.service.max_inputs, size_t{1}, size_t{1} << 20, "Texts of a request")
      ->capture_default_str();
  add_number(app, "--max-input-bytes", command.service.max_input_chars, size_t{1}, size_t{1} << 32, "Bytes of a text")
      ->capture_default_str();
  add_number(app, "--payload-limit", command.payload_limit, int64_t{1}, most, "Bytes of a request's body")->capture_default_str();
  add_number(app, "--max-queue-tokens", command.max_queue_tokens, int64_t{1}, most,
             "Tokens that may wait, padding included; further requests get 429")
      ->capture_default_str();
  add_number(app, "--max-concurrent-requests", command.service.max_requests, size_t{1}, size_t{1} << 24,
             "Requests in progress; further ones get 429")
      ->capture_default_str();
  add_number(app, "--max-connections", command.max_connections, int64_t{1}, int64_t{1} << 20, "Open connections; further ones get 503")
      ->capture_default_str();
  add_number(app, "--queue-timeout", command.queue_timeout, 0.0, 1e6,
             "Seconds that a request may wait before it is computed, then 504; 0: no limit")
      ->capture_default_str();
  add_number(app, "--drain-timeout", command.drain_timeout, 0.0, 1e6, "Seconds that requests in progress have after SIGTERM")
      ->capture_default_str();
  add_number(app, "--header-timeout", command.header_timeout, 0.001, 1e6, "Seconds for a request's header")->capture_default_str();
  add_number(app, "--body-timeout", command.body_timeout, 0.001, 1e6, "Seconds for its body")->capture_default_str();
  add_number(app, "--idle-timeout", command.idle_timeout, 0.001, 1e6, "Seconds that a connection may be idle")->capture_default_str();
  add_number(app, "--write-timeout", command.write_timeout, 0.001, 1e6, "Seconds for a response")->capture_default_str();
  add_number(app, "--tokenization-workers", command.workers, 1, 1024,
             "Threads that read requests and tokenize (default: half the cores, at least 2)");
  add_number(app, "--io-threads", command.io_threads, 1, 256, "Threads of the sockets")->capture_default_str();
}

}  // namespace

Run serve_command(CLI::App& app, const Globals& globals) {
  const auto command = std::make_shared<ServeCommand>();
  command->app = &app;
  add_model_group(app, *command);
  add_server_group(app, *command);
  add_limit_group(app, *command);
  name_environment(app);
  return [command, &globals] { run_serve(*command, globals); };
}

}  // namespace m2bert::cli
