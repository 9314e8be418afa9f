// What nacelle-core and the log worker say to each other, over a SOCK_SEQPACKET pair: values in
// codec/flat.h's form, one per packet, a code byte first. The worker reads the output of every
// container, writes their logs, and carries the sessions of attached clients. It holds nothing
// that is not also held by core: killed at any moment, its successor is told everything again and
// goes on where it stopped, without a byte lost or written twice.
//
// What core gives every worker it starts, as descriptors 3, 4 and 5: the control socket; the read
// end and the write end of the *work pipe*. Core makes that pipe once (pipe2 with O_CLOEXEC), gives
// the same one to every successor, keeps it over its own re-exec, and never reads or writes it: a
// byte on its way from a container into a journal is in there when a worker is killed. One pipe for
// all containers. Descriptors 4 and 5 may be missing: then such a byte can be lost.
// After a worker's death core sends to its successor, in this order: AddStreams for every key that
// was not Drained, with the same descriptors; Ended for those that have ended; CloseInput where it
// was sent before. Client connections die with the worker that carried them.
#pragma once

#include <cstdint>
#include <string>

#include "logs/options.h"

namespace nacelle::logs {

// A key names the streams of one process: a container's own ("<id>") or an exec's ("<id>/<exec>").

// core -> worker. Descriptors, those that are there, in this order: journal (a memfd that outlives
// the worker, where it keeps what it has read and not yet written), stdout and stderr (pipes), or
// the terminal's master; standard input (a pipe's write end, or the master again); the directory
// of the log.
struct AddStreams {
  static constexpr uint8_t code = 1;
  std::string key;
  bool terminal = false;
  bool has_stdin = false, has_stdout = false, has_stderr = false, has_directory = false;
  bool stdin_once = false;  // standard input ends with the first client that ends its side
  Options options;          // Driver::None for an exec
  // An exec's output stays in its pipes until a client comes (also after Ended, for some seconds),
  // and goes nowhere once that has left; a container's goes to the log whether or not anybody is
  // attached.
  bool hold_for_client = false;
  template <class Visit>
  void fields(Visit& visit) {
    visit(key, terminal, has_stdin, has_stdout, has_stderr, has_directory, stdin_once, options,
          hold_for_client);
  }
};

// core -> worker: a client. Descriptor: its socket, on which the answer's head has been sent.
struct AttachClient {
  static constexpr uint8_t code = 2;
  std::string key;
  bool wants_stdin = false, wants_stdout = false, wants_stderr = false;
  bool multiplexed = false;  // the 8-byte stream header before each piece
  std::string detach_keys;   // the bytes themselves; empty: there are none
  std::string early_bytes;   // that the client sent behind its request
  template <class Visit>
  void fields(Visit& visit) {
    visit(key, wants_stdin, wants_stdout, wants_stderr, multiplexed, detach_keys, early_bytes);
  }
};

// core -> worker: the process has ended. What is in the pipes is still read; writers that were left
// behind are waited for no longer than `linger_ms`. Then clients are let go, Drained is sent, and
// the key is free.
struct Ended {
  static constexpr uint8_t code = 3;
  std::string key;
  uint32_t linger_ms = 0;
  template <class Visit>
  void fields(Visit& visit) {
    visit(key, linger_ms);
  }
};

// core -> worker: standard input ends now (nobody is to come).
struct CloseInput {
  static constexpr uint8_t code = 4;
  std::string key;
  template <class Visit>
  void fields(Visit& visit) {
    visit(key);
  }
};

// worker -> core.
struct Drained {
  static constexpr uint8_t code = 5;
  std::string key;
  uint64_t dropped_bytes = 0;  // by a non-blocking mode, or by a log that could not be written
  std::string error;           // why the log could not be written; empty: it could
  template <class Visit>
  void fields(Visit& visit) {
    visit(key, dropped_bytes, error);
  }
};
// worker -> core: a client has left: it was detached (by its keys), or its connection ended.
struct ClientLeft {
  static constexpr uint8_t code = 6;
  std::string key;
  bool by_keys = false;
  template <class Visit>
  void fields(Visit& visit) {
    visit(key, by_keys);
  }
};
// worker -> core: a log cannot be written, or can be again (empty). Output goes on.
struct LogTrouble {
  static constexpr uint8_t code = 7;
  std::string key;
  std::string error;
  uint64_t dropped_bytes = 0;
  template <class Visit>
  void fields(Visit& visit) {
    visit(key, error, dropped_bytes);
  }
};

// worker -> core: standard input has ended (stdin_once, or CloseInput), and the worker has closed
// its copy. Core closes its own (and the engine the parked one): a pipe ends for its reader when
// the last writer goes.
struct InputEnded {
  static constexpr uint8_t code = 8;
  std::string key;
  template <class Visit>
  void fields(Visit& visit) {
    visit(key);
  }
};

// Size of the journal memfd that core makes for each AddStreams.
inline constexpr uint64_t journal_bytes = 256u << 10;

}  // namespace nacelle::logs
