"""The tree that programs are tried on: data of every kind, and programs of every kind."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

GREET_H = '#define GREETING "hello"\nconst char *greet(void);\n'
GREET_C = '#include "greet.h"\nconst char *greet(void) { return GREETING; }\n'

MAIN_C = """
#include <greet.h>
#include <stdio.h>
int main(int count, char **words)
{
    printf("%s from %s, %d\\n", greet(), words[0], count);
    return 7;
}
"""

WHO_C = """
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>
int main(int count, char **words)
{
    char name[17] = "", link[4096] = "", cwd[4096] = "";
    struct stat status;
    prctl(PR_GET_NAME, name);
    if (readlink("/proc/self/exe", link, sizeof link - 1) < 0)
        strcpy(link, strerror(errno));
    for (int i = 0; i < count; i++)
        printf("%s ", words[i]);
    printf("name %s exe %s execfn %s cwd %s size %d\\n", name, link,
           (const char *)getauxval(AT_EXECFN), getcwd(cwd, sizeof cwd),
           stat(words[0], &status) == 0 && status.st_size > 1000);
    return 0;
}
"""

OPENER_C = """
#include <dlfcn.h>
#include <stdio.h>
int main(int count, char **words)
{
    void *library = dlopen(words[count - 1], RTLD_NOW);
    if (!library)
        return printf("%s\\n", dlerror()), 1;
    const char *(*greet)(void) = (const char *(*)(void))dlsym(library, "greet");
    Dl_info info;
    dladdr((void *)greet, &info);
    printf("%s from %s\\n", greet(), info.dli_fname);
    return dlclose(library);
}
"""

STEPS_C = """
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
static int depth(int left)
{
    return left ? 1 + depth(left - 1) : 0;
}
static void *run(void *file)
{
    FILE *stream = fopen(file, "r");
    char line[100] = "";
    if (!stream || !fgets(line, sizeof line, stream))
        exit(3);
    fclose(stream);
    printf("read: %s", line);
    return NULL;
}
int main(int count, char **words)
{
    pthread_t thread;
    setvbuf(stdout, NULL, _IONBF, 0);
    if (pthread_create(&thread, NULL, run, words[count - 1]))
        return 4;
    pthread_join(thread, NULL);
    printf("depth: %d\\n", depth(5));
    return 0;
}
"""

GO = """
package main

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

func main() {
	root := os.Args[1]
	var files, bytes int64
	var lock sync.Mutex
	var wait sync.WaitGroup
	for i := 0; i < 32; i++ {
		wait.Add(1)
		go func() {
			defer wait.Done()
			filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
				if err != nil {
					fmt.Println("error:", err)
					os.Exit(1)
				}
				if entry.Type().IsRegular() {
					content, err := os.ReadFile(path)
					if err != nil {
						fmt.Println("error:", err)
						os.Exit(1)
					}
					lock.Lock()
					files++
					bytes += int64(len(content))
					lock.Unlock()
				}
				return nil
			})
		}()
	}
	for i := 0; i < 16; i++ {
		wait.Add(1)
		go func() {
			defer wait.Done()
			if out, err := exec.Command(os.Args[2], "a", "b").Output(); err != nil {
				fmt.Println("error:", err, string(out))
				os.Exit(1)
			}
		}()
	}
	wait.Wait()
	path, _ := os.Executable()
	fmt.Println(path, files, bytes)
}
"""

JAVA = """
import java.nio.file.*;
import java.util.stream.*;

public class Walk {
    public static void main(String[] words) throws Exception {
        try (Stream<Path> paths = Files.walk(Path.of(words[0]))) {
            for (Path path : paths.sorted().collect(Collectors.toList()))
                System.out.println(path + " " + Files.isSymbolicLink(path) + " "
                    + (Files.isRegularFile(path) ? Files.readAllBytes(path).length : -1));
        }
        System.out.println(Class.forName("Other").getDeclaredConstructor().newInstance());
        System.out.println(Path.of(words[0]).toRealPath());
        Process child = new ProcessBuilder(words[1], "from java").redirectErrorStream(true).start();
        System.out.print(new String(child.getInputStream().readAllBytes()));
        System.out.println(child.waitFor());
    }
}
"""

PERL = """
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Greet;
use File::Find;
use File::Spec;
print "$0 $FindBin::Bin ", Greet::greet(), " ", $INC{"Greet.pm"}, "\\n";
find({ preprocess => sub { sort @_ }, wanted => sub {
    my @status = lstat($_) or die "$File::Find::name: $!";
    print "$File::Find::name $status[2] $status[7] $status[9]\\n" unless -d _;
} }, $ARGV[0]);
opendir(my $directory, $ARGV[0]) or die;
print join(" ", sort readdir $directory), "\\n";
rewinddir $directory;
print scalar(readdir $directory) ? "rewound\\n" : "lost\\n";
print -e "$ARGV[0]/absent" ? "there" : "not there: $!", "\\n";
print `$^X -v | head -c 20`, "\\n";
"""

NODE = """
const fs = require('fs'), path = require('path'), greet = require('greet');
const { execFileSync } = require('child_process');
const { Worker } = require('worker_threads');
const root = process.argv[2];
console.log(__filename, greet(), require.resolve('greet'));
const walk = directory => fs.readdirSync(directory, { withFileTypes: true })
  .sort((a, b) => a.name < b.name ? -1 : 1)
  .forEach(entry => {
    const name = path.join(directory, entry.name);
    console.log(name, entry.isDirectory(), entry.isSymbolicLink(), fs.lstatSync(name).size);
    if (entry.isDirectory()) walk(name);
  });
walk(root);
console.log(fs.realpathSync(root + '/links/file'), fs.existsSync(root + '/absent'));
console.log(execFileSync(process.argv[3], ['from node']).toString());
fs.promises.readFile(root + '/text/lines').then(text => {
  console.log(text.length);
  const worker = new Worker('console.log(require("fs").readdirSync(process.argv[2]).length)',
    { eval: true, argv: [root] });
  worker.on('error', error => { throw error });
});
"""


def write(path: Path, text: str | bytes, mode: int = 0o644) -> Path:
    """Make a file, and the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return path


def fill_data(tree: Path) -> None:
    """Files, directories and links of every kind, all with times of long ago."""
    dice = random.Random(4)
    data = tree / "data"
    write(data / "empty", "")
    write(data / "text" / "lines", "".join(f"line {i} of the file\n" for i in range(2000)))
    write(data / "text" / "no newline", "end")
    write(data / "bytes" / "large", dice.randbytes(3_000_000))
    write(data / "bytes" / "page", dice.randbytes(4096))
    write(data / "bytes" / "script", "#!/bin/sh\necho script $0 $*\n", 0o755)
    write(data / "modes" / "private", "private", 0o600)
    write(data / "modes" / "read-only", "read-only", 0o444)
    write(data / "modes" / "program", "#!/bin/true\n", 0o751)
    write(data / "names" / "with space\ttab", "x")
    write(data / "names" / "line\nbreak", "x")
    write(data / "names" / "-dash", "x")
    write(data / "names" / "größe ☃", "x")
    write(data / "names" / ".hidden", "x")
    write(data / "names" / ("n" * 255), "x")
    (data / "void").mkdir()
    for number in range(200):
        write(data / "many" / f"file{number:03}", f"{number}\n")
    write(data.joinpath(*"abcdefghijklmnop") / "deep", "deep")
    links = data / "links"
    links.mkdir()
    (links / "file").symlink_to("../text/lines")
    (links / "directory").symlink_to("../many")
    (links / "chain").symlink_to("file")
    (links / "broken").symlink_to("nowhere/at all")
    (links / "outside").symlink_to("/usr/bin/env")
    (links / "loop").symlink_to("loop")
    os.link(data / "text" / "lines", data / "text" / "same lines")
    os.mkfifo(data / "pipe")
    write(tree / "nested" / ".cvmfscatalog", "")
    for number in range(20):
        write(tree / "nested" / f"directory{number}" / "file", f"{number}\n")
    _set_times(tree)


def _set_times(tree: Path) -> None:
    for above, directories, files in os.walk(tree, topdown=False):
        for name in (*files, *directories):
            path = os.path.join(above, name)
            time = 1_000_000_000_000_000_000 + len(path) * 1_000_000_007
            os.utime(path, ns=(time, time), follow_symlinks=False)


def fill_git(tree: Path) -> None:
    """A work tree with a history, a change and a new file."""
    work = tree / "work"

    def git(*words: str) -> None:
        identity = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "gc.auto=0")
        subprocess.run(["git", "-C", work, *identity, *words], check=True, capture_output=True)

    work.mkdir(parents=True)
    git("init", "-q", "-b", "main")
    for number in range(200):
        write(work / f"directory{number % 7}" / f"file{number}", f"needle {number}\nhay\n" * 20)
    git("add", ".")
    git("commit", "-q", "-m", "first")
    write(work / "directory1" / "file1", "changed\n")
    git("commit", "-q", "-am", "second")
    git("tag", "-a", "v1", "-m", "one")
    git("repack", "-q", "-a", "-d")
    git("checkout", "-q", "-b", "topic")
    write(work / "topic", "topic\n")
    git("add", ".")
    git("commit", "-q", "-m", "topic")
    write(work / "directory2" / "file2", "not committed\n")
    write(work / "new file", "untracked\n")


def compile_c(target: Path, source: str, *options: str | Path) -> None:
    """Compile a C program or library."""
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["gcc", "-D_GNU_SOURCE", "-O1", "-g", "-x", "c", "-", "-o", target, *options],
        input=source.encode(),
        check=True,
        cwd=target.parent,
    )


def fill_programs(tree: Path, root: str) -> None:
    """Programs in C; *root* is where the tree is going to be seen."""
    bin, lib, include = tree / "bin", tree / "lib", tree / "include"
    write(include / "greet.h", GREET_H)
    write(tree / "src" / "main.c", MAIN_C)
    compile_c(lib / "libgreet.so", GREET_C, "-shared", "-fPIC", "-I", include)
    linked = ("-I", include, "-L", lib, "-lgreet")
    compile_c(bin / "origin", MAIN_C, *linked, "-Wl,-rpath,$ORIGIN/../lib")
    compile_c(bin / "opener", OPENER_C)
    compile_c(bin / "steps", STEPS_C, "-O0", "-pthread")
    compile_c(bin / "who", WHO_C)
    compile_c(bin / "static", WHO_C, "-static")
    (bin / "alias").symlink_to("who")
    write(bin / "rc", 'say() { echo said "$@"; }\n')
    write(bin / "script", '#!/bin/sh\necho "script $0 $# $*"\n', 0o755)
    for name in ("bash", "ls", "cat", "env", "sort"):
        shutil.copy2(f"/bin/{name}", bin / f"own-{name}")
    (lib / "ld.so").symlink_to("loader.so.2")
    shutil.copy2(os.path.realpath("/lib64/ld-linux-x86-64.so.2"), lib / "loader.so.2")
    # What names its interpreter by an absolute path is there twice: one for each place.
    for place, seen in (("virtual", root), ("native", str(tree))):
        bin, at = tree / place, f"{seen}/{place}"
        compile_c(bin / "own-loader", WHO_C, f"-Wl,--dynamic-linker={seen}/lib/ld.so")
        write(bin / "nested", f"#!{at}/outer  with one argument\n", 0o755)
        write(bin / "outer", f"#!{seen}/bin/who -x\n", 0o755)
        write(bin / "loaded", f"#!{at}/own-loader\n", 0o755)


def fill_languages(tree: Path) -> None:
    """Programs in other languages, of those that are here."""
    write(tree / "perl" / "walk", "#!/usr/bin/perl\n" + PERL, 0o755)
    write(tree / "perl" / "lib" / "Greet.pm", 'package Greet; sub greet { return "hello" } 1;\n')
    write(tree / "node" / "walk.js", NODE)
    write(
        tree / "node" / "node_modules" / "greet" / "package.json",
        '{"name": "greet", "main": "lib/greet.js"}',
    )
    write(
        tree / "node" / "node_modules" / "greet" / "lib" / "greet.js",
        "module.exports = () => 'hello'\n",
    )
    if shutil.which("go"):
        write(tree / "go" / "walk.go", GO)
        subprocess.run(
            ["go", "build", "-o", tree / "bin" / "go-walk", "walk.go"],
            check=True,
            cwd=tree / "go",
            env={
                **os.environ,
                "CGO_ENABLED": "0",
                "GO111MODULE": "off",
                "GOFLAGS": "-p=1",
                "GOCACHE": str(tree.parent / "go-cache"),
            },
        )


def fill_java(tree: Path) -> None:
    """A Java program, if it can be compiled here."""
    if not shutil.which("javac"):
        return
    directory = tree / "programs"
    write(directory / "Walk.java", JAVA)
    write(
        directory / "Other.java",
        'public class Other { public String toString() { return "other"; } }\n',
    )
    words = ("javac", "-J-Xshare:auto", "-d", ".", "Walk.java", "Other.java")
    subprocess.run(words, check=True, cwd=directory)
