/** What standbys are asked, and what a leader makes of their answers. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { PeerBus } from '../../common/ports/peer-bus.ts';
import { cardOf, nameOf, textOfCard, type LeaderCard } from '../../coordinator/standby/leader-card.ts';
import { answerAsStandby, requireSeen, standbys } from '../../coordinator/standby/peers.ts';
import { failing } from '../helpers/failing.ts';
import { TempFolder } from '../helpers/temp-folder.ts';

const card: LeaderCard = { id: 'x', host: 'left', pid: 7, listen: 'left:7077', state: 'mark' };

/** Standbys see every path of the leader through `eyes`. */
class Bus implements PeerBus {
  readonly questions: string[] = [];
  readonly #eyes: (question: string) => string;
  #reply: ((question: string) => Promise<string | null>) | null = null;

  constructor(eyes: (question: string) => string = (question) => question) {
    this.#eyes = eyes;
  }

  async ask(question: string): Promise<readonly string[]> {
    this.questions.push(question);
    const text = await this.#reply?.(this.#eyes(question));
    return text ? [text] : [];
  }

  answer(reply: (question: string) => Promise<string | null>): () => void {
    this.#reply = reply;
    return () => (this.#reply = null);
  }
}

let folder: TempFolder;
beforeEach(() => {
  folder = new TempFolder();
});
afterEach(() => folder.remove());

describe('standbys', () => {
  it('are known while they stand by', async () => {
    const bus = new Bus();
    expect(await standbys(bus)).toEqual([]);
    const end = answerAsStandby(bus, card);
    expect(await standbys(bus)).toEqual([card]);
    end();
    expect(await standbys(bus)).toEqual([]);
  });

  it('prove that a folder is the same by what was written there, and nothing of it stays', async () => {
    const out = join(folder.path, 'out');
    const bus = new Bus();
    answerAsStandby(bus, card);
    await requireSeen(bus, { folders: [out], inputs: [folder.path] });
    expect([existsSync(out), readdirSync(out), bus.questions.length]).toEqual([true, [], 1]);
  });

  it('that see another folder, or none, refuse the job with who it is and what to do', async () => {
    const out = join(folder.path, 'out');
    const blind = new Bus((question) => question.replaceAll(out, '/nowhere'));
    answerAsStandby(blind, card);
    // The answer names the path that the standby was asked for.
    const refusal = failing('STANDBY_STORAGE', 'is not seen by the coordinator at left:7077 (process 7 on left)');
    await expect(requireSeen(blind, { folders: [out], inputs: [] })).rejects.toThrow(refusal);
    const elsewhere = new Bus((question) => question.replace(/"text":"[^"]+"/, '"text":"another"'));
    answerAsStandby(elsewhere, card);
    await expect(requireSeen(elsewhere, { folders: [out], inputs: [] })).rejects.toThrow(`${out} is not seen by`);
    const input = join(folder.path, 'gone');
    const bus = new Bus();
    answerAsStandby(bus, card);
    await expect(requireSeen(bus, { folders: [], inputs: [input] })).rejects.toThrow(`${input} is not seen by`);
    expect(readdirSync(out)).toEqual([]);
  });

  it('of another release are told by their words, and ask nothing of us', async () => {
    const bus = new Bus(() => 'not for us');
    answerAsStandby(bus, card);
    expect(await standbys(bus)).toEqual([]);
    expect(cardOf(textOfCard(card))).toEqual(card);
    expect(nameOf(cardOf('something'))).toContain('an unknown address');
  });
});
