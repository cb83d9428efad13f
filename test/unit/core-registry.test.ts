/** Versions of assets are counted up, and none comes again. */
import { expect, it } from 'vitest';
import { imageOf, restoreImage } from '../../coordinator/core/ledger-image.ts';
import { newLedger } from '../../coordinator/core/ledger.ts';
import { assetKey, type DataAsset } from '../../coordinator/core/resources.ts';

const asset = (name: string, version: string): DataAsset => ({
  ...{ kind: 'data', type: 'uri_folder', path: '/data', name, version, createdMs: 0, createdBy: 'ann' },
  ...{ description: null, tags: {}, properties: {} },
});

it('the number of a version that was removed is not given again, also after the journal was cut short', () => {
  const { registry } = newLedger({ heartbeatMs: null });
  for (const version of ['7', 'blue', '3']) registry.put(asset('scans', version));
  for (const version of ['7', '3']) registry.remove(assetKey('data', 'scans', version));
  const before = newLedger({ heartbeatMs: null });
  before.registry.put(asset('scans', '7'));
  before.registry.remove(assetKey('data', 'scans', '7'));
  before.registry.put(asset('rows', '2'));
  const image = imageOf(before);
  const after = newLedger({ heartbeatMs: null });
  restoreImage(after, image);
  for (const each of [registry, after.registry]) expect(each.nextVersion('data', 'scans')).toBe('8');
  expect(after.registry.nextVersion('model', 'scans')).toBe('1');
  // Of an earlier release: what is there is known.
  const { highest: _, ...old } = image.registry;
  const older = newLedger({ heartbeatMs: null });
  restoreImage(older, { ...image, registry: old });
  expect(older.registry.nextVersion('data', 'rows')).toBe('3');
});
