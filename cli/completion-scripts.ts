/**
 * What makes a shell complete our words. The scripts only hand the words so far to `batchmill __complete` and take its lines: so they
 * never go stale, and all that is known of the words is known in one place.
 */
export const shells = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof shells)[number];

export function completionScript(shell: Shell): string {
  return scripts[shell];
}

const scripts: Readonly<Record<Shell, string>> = {
  bash: `# bash completion of batchmill
_batchmill() {
  local IFS=$'\\n' current="\${COMP_WORDS[COMP_CWORD]}" line
  COMPREPLY=()
  while IFS= read -r line; do
    line="\${line%%$'\\t'*}"
    [[ "$line" == "$current"* ]] && COMPREPLY+=("$line")
  done < <(batchmill __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _batchmill batchmill
`,
  zsh: `#compdef batchmill
_batchmill() {
  local -a found
  local line
  while IFS= read -r line; do
    found+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}")
  done < <(batchmill __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)
  if (( \${#found} )); then
    _describe 'batchmill' found
  else
    _files
  fi
}
if (( \${+functions[compdef]} )); then
  compdef _batchmill batchmill
fi
`,
  fish: `# fish completion of batchmill
function __batchmill_complete
  set -l words (commandline -opc) (commandline -ct)
  batchmill __complete -- $words[2..-1] 2>/dev/null
end
complete -c batchmill -a '(__batchmill_complete)'
`,
};
