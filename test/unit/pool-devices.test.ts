import { describe, expect, it } from 'vitest';
import { Devices, threadEnvironment } from '../../worker/pool/devices.ts';
import { hostCommand } from '../../worker/pool/host-command.ts';
import { hostEnvironment } from '../../worker/pool/host-environment.ts';

describe('devices of a node', () => {
  it('go to one host each until they are exhausted, and to another when it is gone', () => {
    const devices = new Devices(['0', '1']);
    expect([devices.take(1), devices.take(2), devices.take(3)]).toEqual(['0', '1', null]);
    expect(devices.take(2)).toBe('1');
    devices.release(3);
    devices.release(1);
    expect([devices.take(4), devices.take(5)]).toEqual(['0', null]);
    expect([devices.count, devices.holds(4), devices.holds(5)]).toEqual([2, true, false]);
  });

  it('are shared by as many hosts as have room, the emptiest first', () => {
    const devices = new Devices(['0', '1']);
    const taken = [1, 2, 3, 4, 5].map((host) => devices.take(host, 0.5));
    expect(taken).toEqual(['0', '1', '0', '1', null]);
    devices.release(3);
    expect([devices.take(6, 1), devices.take(6, 0.5)]).toEqual([null, '0']);
    const thirds = new Devices(['0']);
    expect([1, 2, 3, 4].map((host) => thirds.take(host, 0.33))).toEqual(['0', '0', '0', null]);
  });

  it('go to one host several at a time, and all to one that asks for more than there are', () => {
    const devices = new Devices(['MIG-a', 'MIG-b', 'MIG-c']);
    expect([devices.take(1, 2), devices.take(2, 2), devices.take(2, 1)]).toEqual(['MIG-a,MIG-b', null, 'MIG-c']);
    devices.release(1);
    expect(devices.take(3, 2)).toBe('MIG-a,MIG-b');
    expect(new Devices(['0', '1']).take(1, 8)).toBe('0,1');
    expect(new Devices([]).take(1, 0.5)).toBe(null);
  });

  it.each([
    [4, 1, 4],
    [4, 0.5, 8],
    [4, 0.33, 12],
    [4, 2, 2],
    [3, 2, 1],
    [1, 2, 1],
  ])('%i of them with %d for each host are enough for %i hosts', (count, share, hosts) => {
    const devices = new Devices(Array.from({ length: count }, (_, index) => String(index)));
    expect(devices.hostsOf(share)).toBe(hosts);
    const taken = Array.from({ length: hosts + 1 }, (_, host) => devices.take(host, share));
    expect(taken.filter((name) => name !== null)).toHaveLength(hosts);
  });
});

describe('threads of a host', () => {
  it('are its share of the cores, at least one', () => {
    const share = { OMP_NUM_THREADS: '4', MKL_NUM_THREADS: '4', OPENBLAS_NUM_THREADS: '4' };
    expect(threadEnvironment(16, 4, {}, {})).toEqual(share);
    expect(threadEnvironment(2, 8, {}, {})['OMP_NUM_THREADS']).toBe('1');
  });

  it('are left to who has said something', () => {
    expect(threadEnvironment(16, 4, { OMP_NUM_THREADS: '2' }, {})).toEqual({});
    expect(threadEnvironment(16, 4, {}, { OMP_NUM_THREADS: '2' })).toEqual({});
    expect(threadEnvironment(4, 2, {}, { MKL_NUM_THREADS: '1' })).toEqual({
      OMP_NUM_THREADS: '2',
      OPENBLAS_NUM_THREADS: '2',
    });
  });
});

describe('a host in a built environment', () => {
  const node = { PATH: '/bin', PYTHONPATH: '/site', VIRTUAL_ENV: '/other', CONDA_PREFIX: '/conda', PIP_INDEX_URL: 'x' };

  it('sees that environment and no other Python of the node', () => {
    const built = { kind: 'venv', dir: '/e/1' } as const;
    expect(hostEnvironment({ node, deployment: {}, modelDir: null, outputDir: null, built })).toEqual({
      PATH: '/e/1/bin:/bin',
      VIRTUAL_ENV: '/e/1',
      PYTHONNOUSERSITE: '1',
    });
    expect(
      hostEnvironment({ node, deployment: {}, modelDir: null, outputDir: null, built: { kind: 'conda', dir: '/c' } }),
    ).toEqual({
      PATH: '/c/bin:/bin',
      CONDA_PREFIX: '/c',
      PYTHONNOUSERSITE: '1',
    });
  });

  it('lets the deployment say otherwise about devices and threads', () => {
    const chosen = { CUDA_VISIBLE_DEVICES: '0', OMP_NUM_THREADS: '2' };
    const deployment = { OMP_NUM_THREADS: '8' };
    expect(
      hostEnvironment({ node: { CUDA_VISIBLE_DEVICES: '0,1' }, deployment, modelDir: null, outputDir: null, chosen }),
    ).toEqual({
      CUDA_VISIBLE_DEVICES: '0',
      OMP_NUM_THREADS: '8',
    });
  });

  it('is started through Apptainer in an image, with the folders that it needs', () => {
    const command = hostCommand({
      scorer: { kind: 'python', script: 'a.py' },
      python: null,
      environment: { node: { PATH: '/bin' }, deployment: {}, modelDir: null, outputDir: null },
      container: {
        apptainer: '/bin/apptainer',
        image: '/i.sif',
        binds: ['/scratch', '/in', '/scratch'],
        gpu: 'nvidia',
      },
    });
    expect(command.command).toBe('/bin/apptainer');
    expect(command.args.slice(0, 7)).toEqual(['exec', '--nv', '--bind', '/scratch', '--bind', '/in', '--bind']);
    expect(command.args.slice(8, 12)).toEqual(['/i.sif', 'python3', '-X', 'faulthandler']);
    expect(command.args[12]).toBe(`${command.args[7]}/batchmill_host`);
    expect(command.env).toEqual({ PATH: '/bin', PYTHONNOUSERSITE: '1' });
  });
});
