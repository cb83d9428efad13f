/** Azure's names, as `job show` gives them; `paused` is a flag beside the state. */
export const jobStates = [
  'Queued',
  'Preparing',
  'Running',
  'Finalizing',
  'Completed',
  'Failed',
  'CancelRequested',
  'Canceled',
] as const;
export type JobState = (typeof jobStates)[number];

export function isFinal(state: JobState): state is 'Completed' | 'Failed' | 'Canceled' {
  return state === 'Completed' || state === 'Failed' || state === 'Canceled';
}
