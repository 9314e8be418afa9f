// The engine: the rooms of this floor and what they stand on, put together once. The API has one
// Engine and asks its rooms.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/client.h"
#include "engine/containers.h"
#include "engine/events.h"
#include "engine/host_ports.h"
#include "engine/model.h"
#include "engine/networks.h"
#include "engine/packet_rules.h"
#include "engine/spec_builder.h"
#include "engine/stats.h"
#include "engine/volumes.h"
#include "image/images.h"
#include "nacelle/loop.h"
#include "nacelle/result.h"
#include "nacelle/task.h"

namespace nacelle::engine {

class Policies;

struct Options {
  std::string data_root = "/var/lib/nacelle";
  std::string run_directory = "/run/nacelle";
  std::string core_program, worker_program, init_program;  // empty: beside the running program
  std::string cgroup_root = "nacelle";
  Labels labels;   // of the host, shown by `info`: --label
  LogSetting log;  // the default
  image::RegistryOptions registries;
  std::string default_subnet;  // of `bridge`; empty: the first of 172.17.0.0/16 .. that is free
  int stop_timeout_s = 10;
  int64_t default_shm_bytes = default_shm_bytes_of_docker;
  int64_t loop_stall_us = 5000;
};

// Members in the order in which they are made; later ones use earlier ones.
struct Engine {
  ring::Loop& loop;
  Options options;
  std::string id;  // of this installation, kept in the data root
  std::unique_ptr<Events> events;
  std::unique_ptr<image::Images> images;
  std::unique_ptr<Volumes> volumes;
  std::unique_ptr<Networks> networks;
  std::unique_ptr<PacketRules> rules;
  std::unique_ptr<HostPorts> ports;
  std::unique_ptr<SpecBuilder> specs;
  std::unique_ptr<core::Client> core;
  std::unique_ptr<Policies> policies;
  std::unique_ptr<Containers> containers;
  std::unique_ptr<Stats> stats;
  std::unique_ptr<ring::Scope> background;
  std::vector<std::string> warnings;  // what went wrong at its opening and is no reason to end

  explicit Engine(ring::Loop& loop_in);
  ~Engine();
};

// Opens everything and adopts what runs. The caller serves requests while `recover` goes on.
ring::Task<std::unique_ptr<Engine>> open_engine(ring::Loop& loop, Options options);
// Lets everything go; containers run on.
ring::Task<> close_engine(Engine& engine);

}  // namespace nacelle::engine
