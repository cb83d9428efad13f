/** A program that answers as `nvidia-smi` does, of two GPUs, after its documentation; and notes what it was asked. */
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

export const firstGpu = 'GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f';
export const secondGpu = 'GPU-11111111-d268-c3f3-1b07-005d5ae1dc3f';
export const a100 = 'NVIDIA A100-SXM4-40GB';

export interface FakeDriver {
  /** Of whoever is to find it. */
  readonly PATH: string;
  /** Process and arguments of each time that it was started. */
  started(): readonly { readonly pid: number; readonly args: string }[];
  /** What it does when it is to look again and again; a line of shell. */
  looks(script: string): void;
  /** What it says when it is to tell everything. */
  tells(document: string): void;
}

/** In `dir`, which is there. */
export function installDriver(dir: string): FakeDriver {
  const at = (name: string): string => join(dir, name);
  const install = (name: string, script: string): void => {
    writeFileSync(at(name), `#!/bin/sh\n${script}\n`);
    chmodSync(at(name), 0o755);
  };
  install(
    'nvidia-smi',
    `echo "$$ $*" >> '${at('started')}'
case "$*" in
  -L) printf 'GPU 0: ${a100} (UUID: ${firstGpu})\\nGPU 1: ${a100} (UUID: ${secondGpu})\\n' ;;
  --query-gpu=index*) printf '0, ${firstGpu}, ${a100}, 40960\\n1, ${secondGpu}, ${a100}, 40960\\n' ;;
  *' -l '*) . '${at('looks')}' ;;
  '-q -x') cat '${at('document')}' ;;
  *) echo "no such option: $*" && exit 2 ;;
esac`,
  );
  return {
    PATH: [dir, dirname(process.execPath), '/usr/bin', '/bin'].join(':'),
    started: () => {
      const lines = existsSync(at('started')) ? readFileSync(at('started'), 'utf8').trim().split('\n') : [];
      return lines.map((line) => ({ pid: Number.parseInt(line), args: line.slice(line.indexOf(' ') + 1) }));
    },
    looks: (script) => writeFileSync(at('looks'), `${script}\n`),
    tells: (document) => writeFileSync(at('document'), document),
  };
}

/** A line of each GPU, five times a second. */
export function steadyLooks(usedMebibytes: number, busyPercent: number): string {
  const lines = `${firstGpu}, ${usedMebibytes}, 40960, ${busyPercent}\\n${secondGpu}, 512, 40960, [N/A]\\n`;
  return `while printf '${lines}'; do sleep 0.2; done`;
}

/** `nvidia-smi -q -x` of the first GPU, with what reads it at all; `programs`: of each process and its mebibytes. */
export function wholeDocument(
  usedMebibytes: number,
  programs: readonly (readonly [pid: number, used: string])[],
): string {
  const infos = programs.map(
    ([pid, used]) => `<process_info><gpu_instance_id>N/A</gpu_instance_id><pid>${pid}</pid><type>C</type>
      <process_name>/usr/bin/python3 train.py --key secret</process_name><used_memory>${used}</used_memory></process_info>`,
  );
  return `<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log>
  <attached_gpus>1</attached_gpus>
  <gpu id="00000000:07:00.0">
    <product_name>${a100}</product_name>
    <mig_mode><current_mig>Disabled</current_mig></mig_mode>
    <mig_devices>None</mig_devices>
    <uuid>${firstGpu}</uuid>
    <fb_memory_usage>
      <total>40960 MiB</total><reserved>571 MiB</reserved><used>${usedMebibytes} MiB</used><free>1000 MiB</free>
    </fb_memory_usage>
    <bar1_memory_usage><total>65536 MiB</total><used>1 MiB</used></bar1_memory_usage>
    <utilization><gpu_util>12 %</gpu_util><memory_util>3 %</memory_util></utilization>
    <processes>${infos.join('\n')}</processes>
  </gpu>
</nvidia_smi_log>
`;
}
