import { describe, expect, it } from 'vitest';
import { Devices, threadEnvironment, visibleDevices } from '../../worker/pool/devices.ts';
import { hostCommand } from '../../worker/pool/host-command.ts';
import { hostEnvironment } from '../../worker/pool/host-environment.ts';

const two = `GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-11111111-d268-c3f3-1b07-005d5ae1dc3f)
`;
const mig = `GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f)
  MIG 3g.20gb     Device  0: (UUID: MIG-aaaa)
  MIG 3g.20gb     Device  1: (UUID: MIG-bbbb)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-11111111-d268-c3f3-1b07-005d5ae1dc3f)
`;

describe('devices of a node', () => {
  it.each([
    ['all of the listing', two, undefined, ['0', '1']],
    ['instances instead of a GPU that is partitioned', mig, undefined, ['MIG-aaaa', 'MIG-bbbb', '1']],
    ['those that the node may use, in its order', two, '1,0', ['1', '0']],
    ['by the start of a name', two, 'GPU-1111', ['GPU-1111']],
    ['instances by name', mig, 'MIG-bbbb', ['MIG-bbbb']],
    ['none behind one that is not there', two, '1,7,0', ['1']],
    ['none when the node may use none', two, '', []],
    ['none when the node hides them', two, '-1', []],
    ['none without a driver', '', undefined, []],
  ])('are %s', (_, listing, visible, wanted) => {
    expect(visibleDevices(listing, visible)).toEqual(wanted);
  });

  it('go to one host each until they are exhausted, and to another when it is gone', () => {
    const devices = new Devices(['0', '1']);
    expect([devices.take(1), devices.take(2), devices.take(3)]).toEqual(['0', '1', null]);
    expect(devices.take(2)).toBe('1');
    devices.release(3);
    devices.release(1);
    expect([devices.take(4), devices.take(5)]).toEqual(['0', null]);
    expect(devices.count).toBe(2);
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
      container: { apptainer: '/bin/apptainer', image: '/i.sif', binds: ['/scratch', '/in', '/scratch'], hasGpu: true },
    });
    expect(command.command).toBe('/bin/apptainer');
    expect(command.args.slice(0, 7)).toEqual(['exec', '--nv', '--bind', '/scratch', '--bind', '/in', '--bind']);
    expect(command.args.slice(8, 12)).toEqual(['/i.sif', 'python3', '-X', 'faulthandler']);
    expect(command.args[12]).toBe(`${command.args[7]}/batchmill_host`);
    expect(command.env).toEqual({ PATH: '/bin', PYTHONNOUSERSITE: '1' });
  });
});
