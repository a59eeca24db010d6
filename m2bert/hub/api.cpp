#include "m2bert/hub/api.h"

#include <algorithm>

#include "m2bert/error.h"
#include "m2bert/hub/etag.h"
#include "m2bert/io/inner_path.h"
#include "m2bert/io/json.h"
#include "m2bert/io/utf8.h"
#include "m2bert/version.h"

namespace m2bert::hub {
namespace {

io::HttpOptions http_options(const Settings& settings, std::chrono::seconds timeout, int attempts) {
  return {.user_agent = "m2bert/" M2BERT_VERSION,
          .token = settings.token,
          .token_origin = settings.endpoint,
          .attempts = attempts,
          .connect_timeout = std::min(timeout, std::chrono::seconds(30)),
          .stall_timeout = timeout};
}

// An answer with an unexpected status, in words.
struct Refusal {
  const ModelName& name;
  const Settings& settings;
  int status;
  std::string what;     // the model, and the file that was asked for
  std::string file;     // empty: the listing was asked for
  std::string code;     // the hub's X-Error-Code
  std::string message;  // its X-Error-Message, for the end of an error
  bool has_token() const { return !settings.token.empty(); }
};

[[noreturn]] void fail_denied(const Refusal& r) {
  if (r.code == "GatedRepo")
    fail(r.what, ": is gated. Accept its terms at ", r.settings.endpoint, "/", r.name.repository,
         ", and set HF_TOKEN to a token of that account", r.has_token() ? "; the token that is set has no access" : "", r.message);
  if (r.has_token())
    fail(r.what, ": the hub refuses access with the token that is set. Is the name right, and may this token (HF_TOKEN) read it?",
         r.message);
  fail(r.what,
       ": there is no such repository, or it is private or gated. If it is gated, accept its terms on the hub; set HF_TOKEN to a token "
       "that may read it",
       r.message);
}

[[noreturn]] void fail_not_found(const Refusal& r) {
  if (r.code == "RevisionNotFound") fail(r.name.repository, ": has no revision '", io::printable(r.name.revision), "'", r.message);
  if (!r.file.empty()) fail(r.what, ": the hub lists this file, but does not have it", r.message);
  fail(r.what, ": no such repository or revision at ", r.settings.endpoint, r.message);
}

[[noreturn]] void fail_with(const Refusal& r) {
  if (r.status == 401 || r.status == 403) fail_denied(r);
  if (r.status == 404) fail_not_found(r);
  if (r.status == 429)
    fail(r.what, ": the hub asks for fewer requests (status 429); try again later", r.has_token() ? "" : ", or set HF_TOKEN", r.message);
  if (r.status >= 500)
    throw io::HttpError(r.what + ": the hub is out of order (status " + std::to_string(r.status) + "); try again later" + r.message);
  fail(r.what, ": the hub answers with status ", r.status, r.message);
}

[[noreturn]] void refuse(const ModelName& name, const Settings& settings, const io::HttpResponse& response, const std::string& file) {
  const std::string* code = response.header("x-error-code");
  const std::string* message = response.header("x-error-message");
  fail_with({.name = name,
             .settings = settings,
             .status = response.status,
             .what = name.shown() + (file.empty() ? "" : ": " + io::printable(file)),
             .file = file,
             .code = code ? *code : "",
             .message = message ? " (the hub says: " + io::printable(*message) + ")" : ""});
}

Listing parse_listing(const ModelName& name, const io::Tree& answer) {
  Listing listing;
  listing.commit = answer.at("sha").string();
  require(is_commit(listing.commit), name.shown(), ": the hub gives '", io::printable(listing.commit), "' as its commit, which is none");
  require(!is_commit(name.revision) || listing.commit == name.revision, name.shown(), ": the hub gives the commit ", listing.commit);
  for (const io::Tree& sibling : answer.at("siblings").items()) {
    listing.files.push_back(sibling.at("rfilename").string());
    const std::string problem = io::why_unsafe(listing.files.back());
    require(problem.empty(), name.shown(), ": the hub lists a file '", io::printable(listing.files.back()), "', a name that ", problem,
            "; nothing is downloaded");
  }
  return listing;
}

bool is_redirect(const io::HttpResponse& response) {
  return response.status >= 300 && response.status < 400 && response.header("location");
}

// The ETag of the file itself: a redirect's own ETag would be that of the redirect.
const std::string* etag_header(const io::HttpResponse& response) {
  if (const std::string* linked = response.header("x-linked-etag")) return linked;
  if (const std::string* linked = response.first_header("x-linked-etag")) return linked;
  return is_redirect(response) ? nullptr : response.header("etag");
}

std::optional<uint64_t> size_of(const io::HttpResponse& response) {
  const auto linked = io::header_number(response.header("x-linked-size"));
  return linked || is_redirect(response) ? linked : io::header_number(response.header("content-length"));
}

}  // namespace

Api::Api(const ModelName& name, const Settings& settings, int attempts)
    : name_(name),
      settings_(settings),
      questions_(http_options(settings, settings.check_timeout, attempts)),
      downloads_(http_options(settings, settings.download_timeout, attempts)) {}

std::string Api::resolve_url(const std::string& commit, const std::string& file) const {
  return settings_.endpoint + "/" + name_.repository + "/resolve/" + commit + "/" + io::url_escaped(file, true);
}

Listing Api::list() {
  const std::string url = settings_.endpoint + "/api/models/" + name_.repository + "/revision/" + io::url_escaped(name_.revision);
  const io::HttpResponse response = questions_.send({.url = url});
  if (response.status != 200) refuse(name_, settings_, response, "");
  return parse_listing(name_, io::parse_json(response.body, io::shown_url(url)));
}

RemoteFile Api::metadata(const std::string& commit, const std::string& file) {
  const io::HttpResponse response = questions_.send({.url = resolve_url(commit, file), .head = true, .stop_elsewhere = true});
  if (response.status != 200 && !is_redirect(response)) refuse(name_, settings_, response, file);
  if (const std::string* served = response.header("x-repo-commit"))
    require(*served == commit, name_.shown(), ": ", file, ": the hub serves it from the commit '", io::printable(*served), "' instead of ",
            commit);
  const std::string* etag = etag_header(response);
  require(etag != nullptr, name_.shown(), ": ", file, ": the server names no ETag, so this is not a hub");
  return {.name = file, .etag = parse_etag(*etag, file), .size = size_of(response)};
}

bool Api::fetch(const std::string& commit, const std::string& file, io::HttpSink& sink) {
  const io::HttpResponse response = downloads_.send({.url = resolve_url(commit, file), .sink = &sink});
  if (response.status == 416 && sink.offset() > 0) return false;
  if (response.status != 200 && response.status != 206) refuse(name_, settings_, response, file);
  return true;
}

}  // namespace m2bert::hub
