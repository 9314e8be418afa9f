#include "nacelle/result.h"

#include <cerrno>
#include <cstring>

namespace nacelle {

std::string_view to_string(Kind kind) {
  switch (kind) {
    case Kind::Invalid: return "invalid";
    case Kind::NotFound: return "not found";
    case Kind::Conflict: return "conflict";
    case Kind::Denied: return "denied";
    case Kind::Exhausted: return "exhausted";
    case Kind::Unavailable: return "unavailable";
    case Kind::Cancelled: return "cancelled";
    case Kind::Unsupported: return "unsupported";
    case Kind::Internal: return "internal";
  }
  return "internal";
}

Kind kind_of_errno(int error_number) {
  switch (error_number) {
    case EINVAL:
    case ENAMETOOLONG:
    case ENOTDIR:
    case ELOOP:
    case E2BIG: return Kind::Invalid;
    case ENOENT:
    case ESRCH:
    case ENODEV:
    case ENXIO: return Kind::NotFound;
    case EEXIST:
    case EBUSY:
    case ENOTEMPTY:
    case EISDIR:
    case ETXTBSY: return Kind::Conflict;
    case EPERM:
    case EACCES:
    case EROFS: return Kind::Denied;
    case ENOMEM:
    case ENOSPC:
    case EMFILE:
    case ENFILE:
    case EDQUOT: return Kind::Exhausted;
    case EAGAIN:
    case EINTR:
    case ETIMEDOUT:
    case ECONNREFUSED: return Kind::Unavailable;
    case ECANCELED: return Kind::Cancelled;
    case ENOSYS:
    case EOPNOTSUPP: return Kind::Unsupported;
    default: return Kind::Internal;
  }
}

Error Error::from_errno(int error_number, std::string_view attempt) {
  std::string message(attempt);
  message += ": ";
  message += ::strerror(error_number);
  Error error(kind_of_errno(error_number), std::move(message));
  error.error_number_ = error_number;
  return error;
}

Error& Error::add_context(std::string_view attempt) {
  std::string whole;
  whole.reserve(attempt.size() + 2 + message_.size());
  whole += attempt;
  whole += ": ";
  whole += message_;
  message_ = std::move(whole);
  return *this;
}

}  // namespace nacelle
