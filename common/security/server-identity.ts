/**
 * The name under which a coordinator proves who it is, whatever address it was reached by: a tunnel, a container's port,
 * another name of the machine. The cluster's CA issues server certificates to the coordinator alone, so that which of its
 * addresses was dialled says nothing more.
 */
export const coordinatorName = 'batchmill-coordinator';
