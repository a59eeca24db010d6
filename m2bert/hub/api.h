#pragma once
// The HTTP requests of a model hub: what a revision points to, what its files are, and their content.
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "m2bert/hub/model_name.h"
#include "m2bert/hub/settings.h"
#include "m2bert/io/http_client.h"

namespace m2bert::hub {

// A revision, as the hub lists it.
struct Listing {
  std::string commit;
  std::vector<std::string> files;  // each safe as a path inside a folder
};

// A file of a commit, as the headers of its resolve URL describe it.
struct RemoteFile {
  std::string name, etag;
  std::optional<uint64_t> size;
};

// One repository of a hub. Every answer is checked. Errors say what to do: no such repository or revision, no access, wrong answers;
// io::HttpError: the hub cannot be reached or is out of order. Not thread-safe.
class Api {
 public:
  // attempts: for each request, in a row without progress. The name and the settings must outlive this.
  Api(const ModelName& name, const Settings& settings, int attempts);

  Listing list();
  RemoteFile metadata(const std::string& commit, const std::string& file);
  // Streams the content to the sink, from the sink's offset on. Returns false if the server has no bytes beyond that offset.
  bool fetch(const std::string& commit, const std::string& file, io::HttpSink& sink);

 private:
  std::string resolve_url(const std::string& commit, const std::string& file) const;

  const ModelName& name_;
  const Settings& settings_;
  io::HttpClient questions_, downloads_;  // they differ by their timeouts
};

}  // namespace m2bert::hub
