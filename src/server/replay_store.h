// The exact tokens of replies, so that a conversation which comes back goes on from the state that
// made it. Clients send replies back as JSON: its spelling, or the tokens that a tokenizer would
// choose for it, may differ from what the model sampled.
#pragma once

#include "text/json.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace dsv4 {

// A reply's tokens in the two parts in which prompts contain them.
struct Replay {
  std::string reasoning;               // text of reasoning_ids, without the end of it
  std::vector<int32_t> reasoning_ids;  // with the end; empty for a reply without reasoning
  std::vector<int32_t> reply_ids;      // what follows, with the end-of-sentence token
};

// Names a reply within a conversation, for all spellings of its arguments.
struct ReplayKey {
  uint64_t low = 0;
  uint64_t high = 0;
  auto operator<=>(const ReplayKey&) const = default;
};

class ReplayFile;
struct ReplayRecord;

// Bounded memory; the least recently used go first. All methods may be called from several threads.
class ReplayStore {
 public:
  // `seed` makes keys unpredictable.
  ReplayStore(size_t max_bytes, uint64_t seed);
  // Begins with what the file has, whose seed counts; flush() writes new replies there.
  ReplayStore(size_t max_bytes, std::unique_ptr<ReplayFile> file);
  ~ReplayStore();

  // Keys of the assistant message `i` of a conversation, best first. By the ids of its calls, if it
  // has any: wherever it stands; else, and for clients that change the ids, by the messages before
  // it. `salt` keeps tenants apart.
  class Conversation {
   public:
    Conversation(uint64_t seed, uint64_t salt) : chain_{salt, seed}, start_{chain_} {}
    // The keys of `message` if it stands next.
    std::vector<ReplayKey> keys_of(const Json& message) const;
    // `message` stands next.
    void add(const Json& message);

   private:
    ReplayKey chain_;
    ReplayKey start_;
  };
  Conversation conversation(uint64_t salt) const { return {seed_, salt}; }

  void remember(const std::vector<ReplayKey>& keys, Replay replay);
  // Writes what was remembered since the last call, which may take long; others go on meanwhile,
  // and leave what they remember to a call that is writing. The destructor does so too.
  void flush();
  bool has_unwritten() const;
  std::optional<Replay> find(const std::vector<ReplayKey>& keys);

  size_t n_bytes() const;
  size_t size() const;

 private:
  struct Entry {
    std::vector<ReplayKey> keys;
    Replay replay;
    size_t n_bytes;
  };
  using Entries = std::list<Entry>;

  // With mutex_ held.
  bool insert(const std::vector<ReplayKey>& keys, Replay replay);
  void drop(Entries::iterator entry);
  // With file_mutex_ held.
  void write_unwritten();
  void shorten_file();

  size_t max_bytes_;
  uint64_t seed_;
  mutable std::mutex mutex_;
  size_t n_bytes_ = 0;
  Entries entries_;  // the most recently used first
  std::map<ReplayKey, Entries::iterator> index_;
  std::vector<ReplayRecord> unwritten_;
  std::mutex file_mutex_;                   // taken before mutex_
  const std::unique_ptr<ReplayFile> file_;  // may be null
};

}  // namespace dsv4
