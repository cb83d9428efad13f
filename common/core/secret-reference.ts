/** References to secrets in the values of environment variables: `${secret:NAME}`, alone or within other text. */

const reference = /\$\{secret:([^}]*)\}/g;

/** Letters, digits, `_`, `-` and `.`, at most 128, no dot in front. */
export function isSecretName(text: string): boolean {
  return /^[a-z0-9_-][a-z0-9._-]{0,127}$/i.test(text);
}

/** Names of all secrets that the values refer to, each once. What is no name is told as it stands: nobody has such a secret. */
export function secretNames(variables: Readonly<Record<string, string>>): readonly string[] {
  const names = Object.values(variables).flatMap((value) =>
    [...value.matchAll(reference)].map(([, name = '']) => name),
  );
  return [...new Set(names)];
}

/** The variables with values in place of references; what is not among `secrets` stays as it is. */
export function withSecrets(
  variables: Readonly<Record<string, string>>,
  secrets: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  const filled = (text: string): string =>
    text.replace(reference, (whole, name: string) => (Object.hasOwn(secrets, name) ? (secrets[name] ?? '') : whole));
  return Object.fromEntries(Object.entries(variables).map(([name, value]) => [name, filled(value)]));
}
