// Prints parts of a group's signals and labels as JSON: node read_lake.mjs LAKE GROUP FIRST STOP
import FileSystemStore from "@zarrita/storage/fs";
import { get, open, root, slice } from "zarrita";

const [lake, path, first, stop] = process.argv.slice(2);
const group = root(new FileSystemStore(lake)).resolve(path);
const rows = slice(Number(first), Number(stop));

async function read(name, ...selection) {
  const array = await open.v3(group.resolve(name), { kind: "array" });
  return { attributes: array.attrs, part: await get(array, selection) };
}

const eeg = await read("eeg", rows, null, null);
const target = await read("target", rows);
const subject = await read("subject", rows);
console.log(
  JSON.stringify({
    shape: eeg.part.shape,
    units: eeg.attributes.units,
    eeg: Array.from(eeg.part.data),
    target: Array.from(target.part.data),
    subject: Array.from(subject.part.data),
  }),
);
