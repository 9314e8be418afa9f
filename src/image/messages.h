// What the image room asks of nacelle-worker and what comes back: values, encoded by codec/flat.h.
// The worker is not trusted after it has seen foreign bytes, so nothing in a reply decides more
// than about the bytes it was made from, and every field is checked where it is used.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "codec/compression.h"
#include "codec/digest.h"
#include "nacelle/result.h"
#include "oci/image.h"

namespace nacelle::image {

using codec::Digest;

// Unpacks one layer into the worker's root, an empty directory. Descriptors: the blob (a file, or a
// pipe that a download feeds at the same time).
struct UnpackRequest {
  static constexpr uint8_t code = 1;
  std::string label;  // for messages: "layer 3 of 7 (sha256:0123456789ab)"
  Digest blob;        // expected of the bytes that come in; empty: not known
  uint64_t size = 0;  // of the blob; 0: not known
  Digest diff_id;     // expected of the uncompressed archive; empty: not known
  template <class Visit>
  void fields(Visit& visit) {
    visit(label, blob, size, diff_id);
  }
  struct Reply {
    Digest blob;
    Digest diff_id;
    uint64_t blob_bytes = 0;
    uint64_t tree_bytes = 0;  // content of all files, each hard link once
    uint64_t entries = 0;
    // Directories no entry describes, though entries lie in them, parents first: they take owner,
    // mode, times and xattrs from the layers below.
    std::vector<std::string> implied_directories;
    template <class Visit>
    void fields(Visit& visit) {
      visit(blob, diff_id, blob_bytes, tree_bytes, entries, implied_directories);
    }
  };
};

// Packs the worker's root into an archive. Descriptors: where to write (a file or a pipe).
struct PackRequest {
  static constexpr uint8_t code = 2;
  enum class Form : uint8_t {
    Tree,  // a root file system as it is
    Diff,  // an overlay's upper directory: what it hides is written as whiteouts
  };
  Form form = Form::Tree;
  codec::Compression compression = codec::Compression::None;
  std::optional<int64_t> times_at_most;  // SOURCE_DATE_EPOCH: later times become this one
  template <class Visit>
  void fields(Visit& visit) {
    visit(form, compression, times_at_most);
  }
  struct Reply {
    Digest blob;
    Digest diff_id;
    uint64_t blob_bytes = 0;
    uint64_t archive_bytes = 0;
    uint64_t entries = 0;
    template <class Visit>
    void fields(Visit& visit) {
      visit(blob, diff_id, blob_bytes, archive_bytes, entries);
    }
  };
};

// Takes an archive of images apart (docker-archive, OCI layout, or both in one as Docker 25 and
// later save; compressed or not), leaving each blob under its hexadecimal digest in the worker's
// root, an empty directory. Descriptors: the archive (a file, a pipe or a socket).
struct LoadRequest {
  static constexpr uint8_t code = 3;
  template <class Visit>
  void fields(Visit&) {}
  struct Blob {
    Digest digest;
    uint64_t size = 0;
    template <class Visit>
    void fields(Visit& visit) {
      visit(digest, size);
    }
  };
  struct Image {
    oci::Descriptor manifest;        // its bytes are one of the blobs, made by us if there was none
    std::vector<std::string> names;  // normalised; empty for an untagged one
    template <class Visit>
    void fields(Visit& visit) {
      visit(manifest, names);
    }
  };
  struct Reply {
    std::vector<Blob> blobs;
    std::vector<Image> images;
    template <class Visit>
    void fields(Visit& visit) {
      visit(blobs, images);
    }
  };
};

// Copies a layer archive and finds its digests. Descriptors: from where, to where (a file).
struct CopyLayerRequest {
  static constexpr uint8_t code = 4;
  codec::Compression compression = codec::Compression::None;  // of what is written; input that is
                                                              // compressed already stays as it is
  template <class Visit>
  void fields(Visit& visit) {
    visit(compression);
  }
  struct Reply {
    Digest blob;
    Digest diff_id;
    uint64_t size = 0;
    codec::Compression compression = codec::Compression::None;
    template <class Visit>
    void fields(Visit& visit) {
      visit(blob, diff_id, size, compression);
    }
  };
};

// Writes a tar archive of literal texts and of blobs found under the worker's root (the content
// directory). Descriptors: where to write.
struct ArchiveRequest {
  static constexpr uint8_t code = 5;
  struct Entry {
    std::string name;  // in the archive; ends in '/' for a directory
    std::string text;  // its content, unless
    Digest blob;       // this names it: blobs/<algorithm>/<hex>
    template <class Visit>
    void fields(Visit& visit) {
      visit(name, text, blob);
    }
  };
  std::vector<Entry> entries;
  template <class Visit>
  void fields(Visit& visit) {
    visit(entries);
  }
  struct Reply {
    uint64_t archive_bytes = 0;
    template <class Visit>
    void fields(Visit& visit) {
      visit(archive_bytes);
    }
  };
};

// Reads a manifest or index, and in a second call a configuration. Descriptors: the document.
struct ParseRequest {
  static constexpr uint8_t code = 6;
  bool is_config = false;
  std::string media_type;  // as its descriptor says; may be empty
  Digest digest;           // what the bytes must have
  template <class Visit>
  void fields(Visit& visit) {
    visit(is_config, media_type, digest);
  }
  struct Reply {  // exactly one is there
    std::optional<oci::Manifest> manifest;
    std::optional<oci::Index> index;
    std::optional<oci::ImageConfig> config;
    template <class Visit>
    void fields(Visit& visit) {
      visit(manifest, index, config);
    }
  };
};

// Counts what lies under the worker's root.
struct MeasureRequest {
  static constexpr uint8_t code = 7;
  template <class Visit>
  void fields(Visit&) {}
  struct Reply {
    uint64_t bytes = 0;  // of all that is not a directory, each inode once
    uint64_t entries = 0;
    template <class Visit>
    void fields(Visit& visit) {
      visit(bytes, entries);
    }
  };
};

// Files in and out of a container, which may change them meanwhile. Paths are absolute as the
// container sees them: what its links say leads to other places in it and never out of it.
struct FileStat {
  std::string name;  // the last component
  uint64_t size = 0;
  uint32_t mode = 0;  // st_mode
  int64_t modified_s = 0;
  uint32_t modified_ns = 0;
  std::string link_target;  // of a symbolic link: where it leads, as far as that goes
  template <class Visit>
  void fields(Visit& visit) {
    visit(name, size, mode, modified_s, modified_ns, link_target);
  }
};
struct StatPathRequest {
  static constexpr uint8_t code = 8;
  std::string path;
  template <class Visit>
  void fields(Visit& visit) {
    visit(path);
  }
  using Reply = FileStat;
};
// An archive of one file, or of a directory and all below it, under their own names; "PATH/." is
// what is in the directory, under ".". Descriptors: where to write.
struct ReadPathRequest {
  static constexpr uint8_t code = 9;
  std::string path;
  template <class Visit>
  void fields(Visit& visit) {
    visit(path);
  }
  using Reply = FileStat;
};
// Unpacks an archive into a directory. Descriptors: the archive, plain or compressed.
struct WritePathRequest {
  static constexpr uint8_t code = 10;
  std::string path;
  bool keep_kinds = false;  // a directory replaces nothing but a directory, and the reverse
  bool has_owner = false;   // everything gets this owner, whatever the archive says
  uint32_t uid = 0, gid = 0;
  bool is_layer = false;  // of an image: what it says is gone goes, and the place is an entry, too
  template <class Visit>
  void fields(Visit& visit) {
    visit(path, keep_kinds, has_owner, uid, gid, is_layer);
  }
  struct Reply {
    uint64_t entries = 0, bytes = 0;
    template <class Visit>
    void fields(Visit& visit) {
      visit(entries, bytes);
    }
  };
};

// What an overlay's upper directory (the worker's root) changes. Descriptors: the merged lower
// layers, as a mount of their own.
struct ChangesRequest {
  static constexpr uint8_t code = 11;
  template <class Visit>
  void fields(Visit&) {}
  enum class What : uint8_t { Modified, Added, Deleted };
  struct Change {
    What what = What::Modified;
    std::string path;  // "/etc/passwd"
    template <class Visit>
    void fields(Visit& visit) {
      visit(what, path);
    }
  };
  struct Reply {
    std::vector<Change> changes;  // by path, parents first
    template <class Visit>
    void fields(Visit& visit) {
      visit(changes);
    }
  };
};

// Builds: one source of a COPY or ADD, as it was found.
struct CopySource {
  std::string path;     // "etc/passwd"; "" is the root
  std::string pattern;  // of what is meant below it, each with its parents; empty: all of it
  template <class Visit>
  void fields(Visit& visit) {
    visit(path, pattern);
  }
  bool operator==(const CopySource&) const = default;
};
// What COPY and ADD speak of, looked up in the worker's root, which is a context or another image's
// files. `patterns` are relative to it, and may have wildcards; links lead to places in it and
// never out of it.
struct FindSourcesRequest {
  static constexpr uint8_t code = 12;
  std::vector<std::string> patterns;
  std::vector<std::string> exclude;  // as of .dockerignore, in each source
  // Files come with the directories they are in, from the top or from where "/./" stands.
  bool parents = false;
  bool owners = false;  // the digest is of whose they are, too
  template <class Visit>
  void fields(Visit& visit) {
    visit(patterns, exclude, parents, owners);
  }
  struct Reply {
    std::vector<CopySource> sources;
    bool all_are_directories = false;
    // Of names, kinds, modes, contents, links and attributes of all that was found, and of nothing
    // that changes when the same files are unpacked again.
    Digest digest;
    template <class Visit>
    void fields(Visit& visit) {
      visit(sources, all_are_directories, digest);
    }
  };
};
// Copies files into the worker's root. Descriptors: a mount of where they are.
struct CopyFilesRequest {
  static constexpr uint8_t code = 13;
  struct Text {  // a file that the instruction itself has the content of
    std::string name, content;
    template <class Visit>
    void fields(Visit& visit) {
      visit(name, content);
    }
  };
  std::vector<CopySource> sources;   // as FindSources found them
  std::vector<std::string> exclude;  // as it was told
  std::vector<Text> texts;
  std::string destination;  // absolute; with a slash at its end it is a directory
  bool unpacks = false;     // archives give what is in them
  uint32_t uid = 0, gid = 0;
  bool keeps_owners = false;  // of files: only what is made on the way is uid's
  std::string mode;           // of all files and directories, as chmod is told; empty: as they are
  template <class Visit>
  void fields(Visit& visit) {
    visit(sources, exclude, texts, destination, unpacks, uid, gid, keeps_owners, mode);
  }
  struct Reply {
    uint64_t entries = 0, bytes = 0;
    template <class Visit>
    void fields(Visit& visit) {
      visit(entries, bytes);
    }
  };
};
// Makes a directory of the worker's root and those it is in, as far as they are missing.
struct MakeDirectoryRequest {
  static constexpr uint8_t code = 14;
  std::string path;
  uint32_t uid = 0, gid = 0;
  template <class Visit>
  void fields(Visit& visit) {
    visit(path, uid, gid);
  }
  struct Reply {
    template <class Visit>
    void fields(Visit&) {}
  };
};

// Registry. A worker that talks to one is told where and as whom first, and keeps its connections
// and tokens for the requests that follow.
struct RegistryOpenRequest {
  static constexpr uint8_t code = 16;
  struct Endpoint {
    std::string url;  // "https://registry-1.docker.io", "http://localhost:5000/prefix"
    bool skip_verify = false;
    std::string ca_pem, client_certificate_pem, client_key_pem;  // contents, empty: none
    std::string username, password, identity_token;              // go to this host alone
    template <class Visit>
    void fields(Visit& visit) {
      visit(url, skip_verify, ca_pem, client_certificate_pem, client_key_pem, username, password,
            identity_token);
    }
  };
  std::vector<Endpoint> endpoints;  // tried in order: mirrors first (for pulls), the registry last
  std::string repository;
  bool push = false;
  std::vector<std::string> mount_from;  // repositories whose blobs may be mounted by a push
  std::string system_ca_pem;            // the host's bundle
  std::string http_proxy, https_proxy, no_proxy;
  std::string user_agent;
  template <class Visit>
  void fields(Visit& visit) {
    visit(endpoints, repository, push, mount_from, system_ca_pem, http_proxy, https_proxy, no_proxy,
          user_agent);
  }
  struct Reply {
    template <class Visit>
    void fields(Visit&) {}
  };
};

struct FetchManifestRequest {
  static constexpr uint8_t code = 17;
  std::string reference;  // a tag or a digest
  template <class Visit>
  void fields(Visit& visit) {
    visit(reference);
  }
  struct Reply {
    std::string bytes;
    oci::Descriptor descriptor;  // media type, digest and size of `bytes`
    std::optional<oci::Manifest> manifest;
    std::optional<oci::Index> index;
    template <class Visit>
    void fields(Visit& visit) {
      visit(bytes, descriptor, manifest, index);
    }
  };
};

struct FetchConfigRequest {
  static constexpr uint8_t code = 18;
  oci::Descriptor descriptor;
  template <class Visit>
  void fields(Visit& visit) {
    visit(descriptor);
  }
  struct Reply {
    std::string bytes;
    oci::ImageConfig config;
    template <class Visit>
    void fields(Visit& visit) {
      visit(bytes, config);
    }
  };
};

// Descriptors: the file it goes to, which may hold the beginning of it already (an interrupted
// download goes on from there); optionally a pipe that is given the whole blob meanwhile, from its
// first byte. The digest is checked over the whole; on a mismatch the file is truncated.
struct FetchBlobRequest {
  static constexpr uint8_t code = 19;
  Digest digest;
  uint64_t size = 0;
  template <class Visit>
  void fields(Visit& visit) {
    visit(digest, size);
  }
  struct Reply {
    uint64_t downloaded = 0;  // without what was there already
    template <class Visit>
    void fields(Visit& visit) {
      visit(downloaded);
    }
  };
};

// Descriptors: the blob's file.
struct PushBlobRequest {
  static constexpr uint8_t code = 20;
  Digest digest;
  uint64_t size = 0;
  template <class Visit>
  void fields(Visit& visit) {
    visit(digest, size);
  }
  struct Reply {
    enum class How : uint8_t { Existed, Mounted, Uploaded };
    How how = How::Uploaded;
    std::string mounted_from;
    template <class Visit>
    void fields(Visit& visit) {
      visit(how, mounted_from);
    }
  };
};

struct PushManifestRequest {
  static constexpr uint8_t code = 21;
  std::string reference;  // a tag or a digest
  std::string media_type;
  std::string bytes;
  template <class Visit>
  void fields(Visit& visit) {
    visit(reference, media_type, bytes);
  }
  struct Reply {
    Digest digest;
    template <class Visit>
    void fields(Visit& visit) {
      visit(digest);
    }
  };
};

// Asks for nothing, as whoever the credentials are of.
struct CheckLoginRequest {
  static constexpr uint8_t code = 22;
  template <class Visit>
  void fields(Visit&) {}
  struct Reply {
    template <class Visit>
    void fields(Visit&) {}
  };
};

// A file from a server that is no registry, as nobody in particular. Descriptors: where it goes.
struct FetchFileRequest {
  static constexpr uint8_t code = 23;
  std::string url;
  uint64_t bytes_max = 0;
  std::string system_ca_pem;  // the host's bundle
  std::string http_proxy, https_proxy, no_proxy;
  std::string user_agent;
  template <class Visit>
  void fields(Visit& visit) {
    visit(url, bytes_max, system_ca_pem, http_proxy, https_proxy, no_proxy, user_agent);
  }
  struct Reply {
    uint64_t size = 0;
    int64_t modified_s = 0;  // 0: the server does not say
    template <class Visit>
    void fields(Visit& visit) {
      visit(size, modified_s);
    }
  };
};
// Descriptors: the file, of which all is read from its beginning.
struct HashFileRequest {
  static constexpr uint8_t code = 24;
  codec::DigestAlgorithm algorithm = codec::DigestAlgorithm::Sha256;
  template <class Visit>
  void fields(Visit& visit) {
    visit(algorithm);
  }
  struct Reply {
    Digest digest;
    template <class Visit>
    void fields(Visit& visit) {
      visit(digest);
    }
  };
};

}  // namespace nacelle::image
