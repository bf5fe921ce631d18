// `kvp launch`: the command line around a launch.

#ifndef KVP_LAUNCHER_LAUNCH_MAIN_H_
#define KVP_LAUNCHER_LAUNCH_MAIN_H_

#include <string>

namespace kvp {

// argv[0] is the tool's name in messages; the tools are found in `tools_dir`. Returns the exit
// status: 0 done, 1 failed, 2 wrong usage or a job file that is wrong, 128 + N where signal N
// stopped it.
int LaunchMain(int argc, char** argv, const std::string& tools_dir);

}  // namespace kvp

#endif  // KVP_LAUNCHER_LAUNCH_MAIN_H_
