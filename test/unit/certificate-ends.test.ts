/** Which certificate of a worker node counts, and which node's ends first. */
import { expect, test } from 'vitest';
import { firstNodeEndMs, lastingCertificates } from '../../coordinator/access/certificate-ends.ts';
import type { Ledger } from '../../coordinator/core/ledger.ts';

const certificate = (name: string, node: string, expiresMs: number, revokedMs: number | null = null) => ({
  resource: { kind: 'certificate', name, node, createdMs: 0, createdBy: 'test', expiresMs, revokedMs },
});

function ledgerOf(connected: readonly string[], ...certificates: readonly ReturnType<typeof certificate>[]): Ledger {
  const nodes = new Map(
    ['a', 'b', 'c'].map((name) => [name, { name, isConnected: connected.includes(name) }] as const),
  );
  return { nodes, registry: { ofKind: () => certificates } } as unknown as Ledger;
}

const all = [
  certificate('1', 'a', 100),
  certificate('2', 'a', 300),
  certificate('3', 'b', 200),
  certificate('4', 'b', 900, 1),
  certificate('5', 'c', 50),
];

test('of several of a node the one that lasts longest counts, and none that is revoked', () => {
  const found = [...lastingCertificates(ledgerOf([], ...all))].map(([node, { name }]) => [node, name]);
  expect(found).toEqual([
    ['a', '2'],
    ['b', '3'],
    ['c', '5'],
  ]);
});

test('the first end is that of a node which is connected', () => {
  expect(firstNodeEndMs(ledgerOf(['a', 'b'], ...all))).toBe(200);
  expect(firstNodeEndMs(ledgerOf(['a'], ...all))).toBe(300);
  expect(firstNodeEndMs(ledgerOf([], ...all))).toBeNull();
  expect(firstNodeEndMs(ledgerOf(['a']))).toBeNull();
});
