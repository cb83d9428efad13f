/** Questions from the coordinator that leads to those that stand by. Whoever is away does not answer, and nothing waits for it for long. */
export interface PeerBus {
  /** Answers that came in time. Rejects with JOURNAL_STREAM_UNREACHABLE. */
  ask(question: string, waitMs: number): Promise<readonly string[]>;
  /** Answers from now on; null: none to this question. Returns how to end that. */
  answer(reply: (question: string) => Promise<string | null>): () => void;
}
