// The verbs that ask the engine; verbs.cc has them in its tables.
#pragma once

#include "cli/nacelle/session.h"

namespace nacelle::cli {

#define NACELLE_VERB(name) Result<int> name(Session& session, const Arguments& arguments)
// Containers.
NACELLE_VERB(run_run);
NACELLE_VERB(run_create);
NACELLE_VERB(run_start);
NACELLE_VERB(run_attach);
NACELLE_VERB(run_exec);
NACELLE_VERB(run_stop);
NACELLE_VERB(run_restart);
NACELLE_VERB(run_kill);
NACELLE_VERB(run_remove);
NACELLE_VERB(run_pause);
NACELLE_VERB(run_unpause);
NACELLE_VERB(run_wait);
NACELLE_VERB(run_rename);
NACELLE_VERB(run_update);
NACELLE_VERB(run_port);
NACELLE_VERB(run_top);
NACELLE_VERB(run_diff);
NACELLE_VERB(run_commit);
NACELLE_VERB(run_export);
NACELLE_VERB(run_container_prune);
NACELLE_VERB(run_ps);
NACELLE_VERB(run_logs);
NACELLE_VERB(run_stats);
NACELLE_VERB(run_cp);
// Any kind.
NACELLE_VERB(run_inspect);
NACELLE_VERB(run_container_inspect);
NACELLE_VERB(run_engine_image_inspect);
NACELLE_VERB(run_network_inspect);
NACELLE_VERB(run_volume_inspect);
// Images: on the store itself where --data-root is given.
NACELLE_VERB(run_any_pull);
NACELLE_VERB(run_any_push);
NACELLE_VERB(run_any_images);
NACELLE_VERB(run_any_image_remove);
NACELLE_VERB(run_any_tag);
NACELLE_VERB(run_any_history);
NACELLE_VERB(run_any_save);
NACELLE_VERB(run_any_load);
NACELLE_VERB(run_any_import);
NACELLE_VERB(run_search);
// The same under `image`: on the store itself where no engine runs, too.
NACELLE_VERB(run_image_pull);
NACELLE_VERB(run_image_push);
NACELLE_VERB(run_image_images);
NACELLE_VERB(run_image_remove_any);
NACELLE_VERB(run_image_tag);
NACELLE_VERB(run_image_history);
NACELLE_VERB(run_image_save);
NACELLE_VERB(run_image_load);
NACELLE_VERB(run_image_import);
NACELLE_VERB(run_image_inspect_any);
NACELLE_VERB(run_image_prune_any);
// Volumes and networks.
NACELLE_VERB(run_volume_create);
NACELLE_VERB(run_volume_list);
NACELLE_VERB(run_volume_remove);
NACELLE_VERB(run_volume_prune);
NACELLE_VERB(run_network_create);
NACELLE_VERB(run_network_list);
NACELLE_VERB(run_network_remove);
NACELLE_VERB(run_network_connect);
NACELLE_VERB(run_network_disconnect);
NACELLE_VERB(run_network_prune);
NACELLE_VERB(run_network_trace);
NACELLE_VERB(run_policy_set);
NACELLE_VERB(run_policy_show);
NACELLE_VERB(run_policy_list);
NACELLE_VERB(run_policy_remove);
NACELLE_VERB(run_policy_stats);
// The engine.
NACELLE_VERB(run_info);
NACELLE_VERB(run_version);
NACELLE_VERB(run_disk_use);
NACELLE_VERB(run_events);
NACELLE_VERB(run_system_prune);
NACELLE_VERB(run_login);
NACELLE_VERB(run_logout);
NACELLE_VERB(run_build);
// The program itself.
NACELLE_VERB(run_check);
NACELLE_VERB(run_completion);
NACELLE_VERB(run_complete);
#undef NACELLE_VERB

}  // namespace nacelle::cli
