#include "core/shm/ring/slot_table.hpp"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <new>
#include <utility>

#include "core/base/pause.hpp"
#include "core/shm/ring/fence.hpp"

namespace millrace::shm {
namespace {

// A cell as words: its version, the header, then topic and payload.
constexpr std::size_t header_words = sizeof(CellHeader) / 8;
constexpr std::size_t hash_word = 1;  // CellHeader::hash, its first member
constexpr int looks_max = 2'000;      // attempts to read a cell, before it is reported as `busy`

std::atomic_ref<std::uint64_t> atomic(const std::uint64_t& word) {
  return std::atomic_ref<std::uint64_t>(const_cast<std::uint64_t&>(word));
}

std::size_t words_for(std::size_t bytes) {
  return (bytes + 7) / 8;
}

CellHeader header_of(const std::uint64_t* cell) {
  CellHeader header;
  std::memcpy(&header, cell + 1, sizeof header);
  return header;
}

std::string_view topic_of(const std::uint64_t* cell) {
  return {reinterpret_cast<const char*>(cell + 1 + header_words), header_of(cell).topic_bytes};
}

bool options_fit(std::uint32_t cell_count, std::uint32_t cell_bytes, std::uint32_t window) {
  return std::has_single_bit(cell_count) && cell_bytes >= 128 && cell_bytes % 128 == 0 &&
         window >= 1 && window <= cell_count;
}

}  // namespace

std::unique_ptr<TableWriter> TableWriter::make(const TableOptions& options) {
  if (!options_fit(options.cell_count, options.cell_bytes, options.window)) return nullptr;
  const std::size_t bytes =
      page_bytes + static_cast<std::size_t>(options.cell_count) * options.cell_bytes;
  UniqueFd fd = make_memory("millrace-table", bytes);
  if (!fd) return nullptr;
  Mapping mapping = Mapping::map(fd.get(), bytes, Access::read_write);
  if (!mapping) return nullptr;
  auto* header = new (mapping.data()) TableHeader;
  header->table_id = options.table_id;
  header->epoch = options.epoch;
  header->cell_count = options.cell_count;
  header->cell_bytes = options.cell_bytes;
  header->window = options.window;
  if (!seal_for_readers(fd.get())) return nullptr;
  return std::unique_ptr<TableWriter>(new TableWriter(options, std::move(fd), std::move(mapping)));
}

TableWriter::TableWriter(const TableOptions& options, UniqueFd fd, Mapping mapping)
    : options_(options),
      fd_(std::move(fd)),
      mapping_(std::move(mapping)),
      words_(options.cell_bytes / 8) {}

std::uint64_t* TableWriter::cell(std::uint64_t index) const {
  return reinterpret_cast<std::uint64_t*>(
      mapping_.data() + page_bytes + (index & (options_.cell_count - 1)) * options_.cell_bytes);
}

// Whether a cell that carries the topic's hash is the topic's: another one may have the same hash.
bool TableWriter::is_of(const std::uint64_t* at, std::string_view topic) const {
  // A name that does not fit is left out of its cell: it goes by the hash alone.
  return header_of(at).topic_bytes == 0 ? topic.size() > room() : topic_of(at) == topic;
}

// The topic's cell. If it has none and make_room is set: a free cell of its window, or else the one
// published least recently.
std::uint64_t* TableWriter::find(std::string_view topic, std::uint64_t hash, bool make_room) {
  std::uint64_t* oldest = nullptr;
  std::uint64_t* free = nullptr;
  for (std::uint32_t i = 0; i < options_.window; ++i) {
    std::uint64_t* at = cell(hash + i);
    const CellHeader header = header_of(at);  // not atomic: this thread is the only writer
    if (header.state == CellState::empty) {
      if (!free) free = at;
      continue;
    }
    if (header.hash == hash && is_of(at, topic)) return at;
    if (!oldest || header.sequence < header_of(oldest).sequence) oldest = at;
  }
  if (!make_room) return nullptr;
  if (!free) ++displaced_;
  ++generation_;
  return free ? free : oldest;
}

void TableWriter::store(std::string_view topic, std::span<const std::byte> payload,
                        std::uint8_t flags, std::uint64_t time_ns) {
  const std::uint64_t hash = topic_hash(topic);
  const std::uint64_t generation_before = generation_;
  std::uint64_t* at = find(topic, hash, true);
  CellHeader header{hash,
                    generation_ == generation_before ? header_of(at).generation : generation_,
                    ++sequence_,
                    time_ns,
                    static_cast<std::uint32_t>(payload.size()),
                    static_cast<std::uint16_t>(topic.size()),
                    CellState::here,
                    flags};
  if (topic.size() + payload.size() > room()) {
    header.state = CellState::elsewhere;
    payload = {};
    if (topic.size() > room()) {
      // Found by its hash alone; the server compares the name when the value is requested.
      topic = {};
      header.topic_bytes = 0;
    }
  }
  write(at, header, topic, payload);
}

void TableWriter::clear(std::string_view topic, std::uint64_t time_ns) {
  const std::uint64_t hash = topic_hash(topic);
  std::uint64_t* at = find(topic, hash, false);
  if (!at) return;
  CellHeader header = header_of(at);
  header.sequence = ++sequence_;
  header.time_ns = time_ns;
  header.payload_bytes = 0;
  if (topic.size() > room()) topic = {};
  header.topic_bytes = static_cast<std::uint16_t>(topic.size());
  header.state = topic.empty() ? CellState::elsewhere : CellState::cleared;
  write(at, header, topic, {});
}

bool TableWriter::when_stored(std::string_view topic, std::uint64_t& sequence,
                              std::uint64_t& time_ns) {
  const std::uint64_t* at = find(topic, topic_hash(topic), false);
  if (!at) return false;
  sequence = header_of(at).sequence;
  time_ns = header_of(at).time_ns;
  return true;
}

void TableWriter::write(std::uint64_t* at, CellHeader header, std::string_view topic,
                        std::span<const std::byte> payload) {
  const std::size_t used = header_words + words_for(topic.size() + payload.size());
  std::memset(words_.data(), 0, used * 8);
  std::memcpy(words_.data(), &header, sizeof header);
  auto* body = reinterpret_cast<std::byte*>(words_.data() + header_words);
  if (!topic.empty()) std::memcpy(body, topic.data(), topic.size());
  if (!payload.empty()) std::memcpy(body + topic.size(), payload.data(), payload.size());

  const std::uint64_t version = atomic(at[0]).load(std::memory_order_relaxed);
  atomic(at[0]).store(version + 1, std::memory_order_relaxed);
  full_fence();  // odd before any word changes; partner: acquire_fence in TableReader::copy_cell
  for (std::size_t i = 0; i < used; ++i) {
    atomic(at[1 + i]).store(words_[i], std::memory_order_relaxed);
  }
  // release: the words come before it; partner: the acquire load in TableReader::copy_cell.
  atomic(at[0]).store(version + 2, std::memory_order_release);
}

const char* TableReader::open(int fd) {
  const Mapping head = Mapping::map(fd, page_bytes, Access::read_only);
  if (!head) return "the table cannot be mapped";
  const auto* header = head.as<const TableHeader>();
  if (const char* fault = check_layout(header->stamp, table_magic)) return fault;
  if (!options_fit(header->cell_count, header->cell_bytes, header->window)) {
    return "the table's header is inconsistent";
  }
  const std::size_t bytes =
      page_bytes + static_cast<std::size_t>(header->cell_count) * header->cell_bytes;
  mapping_ = Mapping::map(fd, bytes, Access::read_only);
  if (!mapping_) return "the table's cells cannot be mapped";
  cell_mask_ = header->cell_count - 1;
  cell_bytes_ = header->cell_bytes;
  window_ = header->window;
  words_.assign(cell_bytes_ / 8, 0);
  return nullptr;
}

// Copies the whole cell into words_, if it carries `hash`.
TableReader::CellCopy TableReader::copy_cell(const std::uint64_t* at, std::uint64_t hash) {
  for (int look = 0; look < looks_max; ++look) {
    // acquire: before the words; partner: the release store in TableWriter::write.
    const std::uint64_t version = atomic(at[0]).load(std::memory_order_acquire);
    if (version == 0) return CellCopy::other;
    if ((version & 1) == 0) {
      words_[hash_word] = atomic(at[hash_word]).load(std::memory_order_relaxed);
      const bool is_it = words_[hash_word] == hash;
      for (std::size_t i = 2; is_it && i < words_.size(); ++i) {
        words_[i] = atomic(at[i]).load(std::memory_order_relaxed);
      }
      // The words before the second load of the version; partner: full_fence in TableWriter::write.
      acquire_fence();
      if (atomic(at[0]).load(std::memory_order_relaxed) == version) {
        return is_it ? CellCopy::taken : CellCopy::other;
      }
    }
    if (look % 64 == 63) ::sched_yield();
    base::pause();
  }
  return CellCopy::busy;
}

TableReader::Found TableReader::read(std::string_view topic, Value& value) {
  const std::uint64_t hash = topic_hash(topic);
  const std::size_t room = cell_bytes_ - 8 - sizeof(CellHeader);
  bool busy = false;
  for (std::uint32_t i = 0; i < window_; ++i) {
    const auto* at = reinterpret_cast<const std::uint64_t*>(
        mapping_.data() + page_bytes + ((hash + i) & cell_mask_) * cell_bytes_);
    const CellCopy result = copy_cell(at, hash);
    if (result == CellCopy::busy) busy = true;
    if (result != CellCopy::taken) continue;
    const CellHeader header = header_of(words_.data());
    if (header.state == CellState::elsewhere &&
        (header.topic_bytes == 0 || topic_of(words_.data()) == topic)) {
      return Found::elsewhere;
    }
    if (std::size_t{header.topic_bytes} > room || topic_of(words_.data()) != topic) continue;
    if (header.state != CellState::here) return Found::no;
    if (header.topic_bytes + std::size_t{header.payload_bytes} > room) continue;
    const auto* payload =
        reinterpret_cast<const std::byte*>(words_.data() + 1 + header_words) + header.topic_bytes;
    value.payload.assign(payload, payload + header.payload_bytes);
    value.sequence = header.sequence;
    value.generation = header.generation;
    value.time_ns = header.time_ns;
    value.flags = header.flags;
    return Found::yes;
  }
  return busy ? Found::busy : Found::no;
}

}  // namespace millrace::shm
