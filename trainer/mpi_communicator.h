// The communicator over MPI: the one place in the product that includes mpi.h.

#ifndef KVP_TRAINER_MPI_COMMUNICATOR_H_
#define KVP_TRAINER_MPI_COMMUNICATOR_H_

#include <memory>

#include "trainer/communicator.h"

namespace kvp {

// All ranks of MPI_COMM_WORLD. Initialises MPI, and finalises it when it is destroyed: at most one
// in a process's life.
std::unique_ptr<Communicator> NewMpiCommunicator();

}  // namespace kvp

#endif  // KVP_TRAINER_MPI_COMMUNICATOR_H_
