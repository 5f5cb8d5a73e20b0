# Scripts whose outcome is the same natively and on the repository; @@ is the tree.
# "### NAME PROGRAM" begins one: it is skipped where there is no such PROGRAM.
# Blocks are not compared: directories on a disk have others.

### ls
ls -lR --full-time @@/data | grep -v ^total

### ls-inside
cd @@/data && ls -laR . | grep -v ^total | grep -v '[.][.]$'

### find
find @@/data -printf '%p %y %Y %m %U %G %s %T@ %n %l %d\n' | sort

### find-types
find @@/ -type l -o -type p -o -size +1M -o -empty | sort

### find-exec
find @@/nested -name file -execdir cat {} + | sort -n | md5sum

### find-links
find -L @@/data/links | sort
find @@/data -samefile @@/data/text/lines | sort

### du
du -ab --apparent-size @@/data | sort -k2

### tar
tar --sort=name -C @@ -cf - data | md5sum
tar --sort=name -C @@ -cf - data | tar -tvf - | sort

### cp
cp -a @@/data copy && tar --sort=name -cf - copy | md5sum && diff -r copy @@/data

### cp-sparse
cp --sparse=always --reflink=auto @@/data/bytes/large x && cmp x @@/data/bytes/large && ls -s x

### rsync rsync
rsync -aH @@/data/ copy/ && tar --sort=name -cf - copy | md5sum
rsync -aHnic @@/data/ copy/

### grep
grep -rc 'line 1' @@/data/text @@/data/many | sort
grep -r nothing @@/data/many

### sums
find @@/data -type f -print0 | sort -z | xargs -0 md5sum

### stat
stat -c '%n %F %a %u %g %s %h %Y %X' @@/data/* @@/data/links/* | sed 's/ [0-9]*$//'

### names
cd @@/data/names && for name in * .h*; do
    echo "$name"
    wc -c < "$name"
done

### realpath
realpath @@/data/links/* @@/data/../data/./links/directory/..
readlink -f @@/data/links/chain
readlink @@/data/links/*
realpath @@/data/links/loop

### tests
# Natively the user may write.
for file in @@/data/* @@/data/links/* @@/data/modes/* @@/absent; do
    for letter in e f d L r w x s p b h; do
        test -$letter "$file" && echo -n $letter
    done
    echo " $file"
done | sed 's/rw/r/'

### od
od -c @@/data/bytes/page | md5sum
dd if=@@/data/bytes/large bs=7777 skip=9 count=3 status=none | md5sum
tail -c 99 @@/data/bytes/large | md5sum
split -n 3 @@/data/bytes/large x && cat xa? | cmp - @@/data/bytes/large
head -3 @@/data/links/file
sort -R --random-source=@@/data/bytes/large @@/data/text/lines | md5sum
tac @@/data/text/lines | md5sum
shuf -n 3 --random-source=@@/data/bytes/large @@/data/text/lines
comm @@/data/text/lines @@/data/text/lines | md5sum
sed -n 5p @@/data/text/lines
awk 'NR == 7' @@/data/text/lines
ln -s @@/data/text l && cat l/no*

### absent
cat @@/absent
ls @@/absent/x
cat @@/data
cat @@/data/empty/x
ls @@/data/links/loop/

### bash-cwd
cd @@/data/links/directory && pwd && pwd -P
cd .. && pwd
cd -
cd -P .. && pwd
(cd / && cd @@/nested/directory1/../directory2 && pwd && /bin/pwd)
echo *
ls ../data/text
cat < many/file007
pushd @@/work && popd

### bash-globs
shopt -s globstar dotglob nullglob
cd @@
echo data/**/f*[0-4]9 */ data/names/*
for file in data/l*/*; do
    [ -e $file ] && echo $file
done

### bash-files
source @@/bin/rc && say 1
cat <(cat @@/data/text/no*) - <<< here
exec 7< @@/data/text/lines
read -u 7 line && echo $line
read -u 7 line && echo $line
(read -u 7 line && echo $line)
read -u 7 line && echo $line
ls -l /proc/self/fd/7 | sed 's/.*-> //'
readlink /proc/$$/fd/7
mapfile -t lines < @@/data/text/lines
echo ${#lines[@]}

### bash-jobs
for number in {10..50}; do
    cat @@/data/many/file0$number &
done | sort | md5sum
wait
(
    trap 'echo caught' TERM
    kill -TERM $BASHPID
    cat @@/data/text/no*
)
timeout 5 sleep 0.1
echo $?
timeout 0.2 tail -f @@/data/text/lines > /dev/null
echo $?
coproc { cat @@/data/text/no*; exec >&-; read -r; } # whose descriptors are gone once it ends
read -u ${COPROC[0]} line
echo $line

### bash-errors
@@/data/modes/read-only
echo $?
@@/absent
echo $?
@@/data
echo $?
@@/data/text/lines/x
echo $?
cd @@/data/empty
echo $?
@@/bin/own-bash -c 'exit 9'
echo $?

### own-bash
exec @@/bin/own-bash -c '
    cd @@/data
    @@/bin/own-ls | @@/bin/own-sort -r
    echo $0 $BASH
    @@/bin/own-env -i A=b @@/bin/own-env
    @@/bin/own-cat text/no*
    exec @@/bin/own-ls text
'

### dash
sh -c 'cd @@/data/text && pwd && cat * | wc && . @@/bin/rc && say 2'

### git git
cd @@/work
git status --porcelain -b
git log --oneline --stat
git diff
git grep -c needle | md5sum
git ls-files -s | md5sum
git show v1
git describe
git blame topic
git branch -a
git fsck --no-progress
git rev-parse --show-toplevel
git cat-file -p HEAD:topic
git archive main | md5sum
git worktree list
git stash list
git diff --stat v1

### git-inside git
cd @@/work/directory3 && git status -s && git log -3 --format=%s -- .
git ls-files --full-name . | md5sum
git rev-parse --show-prefix --git-dir

### git-clone git
git clone -q @@/work clone && cd clone && git log --oneline && git status --porcelain
ls | md5sum
git fetch -q && git log origin/topic --format=%s

### rpath
exec @@/bin/origin a b

### rpath-cwd
cd @@/bin && ./origin
cd @@/data && ../bin/origin
ldd @@/bin/origin | sed 's/ (0x.*//' | grep libgreet

### dlopen
exec @@/bin/opener @@/lib/libgreet.so

### dlopen-absent
exec @@/bin/opener @@/lib/absent.so

### dlopen-relative
cd @@/lib && ../bin/opener ./libgreet.so
LD_LIBRARY_PATH=@@/lib @@/bin/opener libgreet.so
LD_PRELOAD=@@/lib/libgreet.so @@/bin/opener libc.so.6 | head -c 99

### who
exec @@/bin/who one two

### static
exec @@/bin/static one

### script
exec @@/bin/script one 'two three'

### who-names
work=$PWD
cd @@/bin
./who
./alias
(exec -a other ./who)
cd ..
PATH=@@/bin:$PATH
who x
static
script y
bin/script z
env who
cat bin/who > $work/who
cd $work
chmod +x who
./who | sed 's/, .*//'

### loader
exec @@/lib/ld.so --argv0 zero @@/bin/who 'by its loader'

### steps
exec @@/bin/steps @@/data/text/lines

### perl perl
exec @@/perl/walk @@/data

### node node
exec node @@/node/walk.js @@/data @@/bin/who

### java javac
exec java -Xshare:auto -XX:TieredStopAtLevel=1 -cp @@/programs Walk @@/data/links @@/bin/who

### go go
exec @@/bin/go-walk @@/data @@/bin/who

### gcc
gcc -c -Wall -I@@/include @@/src/main.c -o main.o
gcc main.o -L@@/lib -lgreet -Wl,-rpath,@@/lib -o main && ./main
echo $?
gcc -MM -I@@/include @@/src/main.c | fmt -w 1
gcc -I@@/nowhere @@/src/main.c
cd @@/src && gcc -I../include -E main.c | grep -c greet

### no-repository
# What is asked for in vain is nothing to talk about.
ls /cvmfs/package.json
ls /cvmfs/absent.example.org/x
