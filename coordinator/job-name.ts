import { jobName, type JobName } from '../common/core/ids.ts';

/** `digits-20261121-093012-k3f9`: readable, in order of time, and different from any other of the same second. */
export function newJobName(deployment: string, wallMs: number, random: () => number): JobName {
  const [date = '', time = ''] = new Date(wallMs).toISOString().split('T');
  const stamp = `${date.replaceAll('-', '')}-${time.slice(0, 8).replaceAll(':', '')}`;
  const tail = Array.from({ length: 4 }, () => 'abcdefghjkmnpqrstuvwxyz23456789'[Math.floor(random() * 31)]).join('');
  return jobName(`${deployment.toLowerCase().replace(/[^a-z0-9-]+/g, '-')}-${stamp}-${tail}`);
}
