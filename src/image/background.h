// One blocking call on a thread of its own, while its caller goes on showing that it lives.
#pragma once

#include <functional>

namespace nacelle::image {

// What `call(argument)` returns (an errno, or 0). `still_here` is called once a second meanwhile.
int run_in_background(int (*call)(void*), void* argument, const std::function<void()>& still_here);

}  // namespace nacelle::image
