# The commands of this project. `make` alone lists them.
.PHONY: help demo test check lab-test format bench bench-membership bench-mirrors bench-pool bench-sessions bench-supervisor fuzz clean

help:
	@echo "make demo     build, then run a whole mesh on this machine; open the printed address"
	@echo "make test     build and run every test; ends with the counts"
	@echo "make lab-test the mesh in containers, harmed and judged; needs docker; ARGS=redis for one store of three"
	@echo "make check    format, warnings as errors, purity of the core"
	@echo "make format   bring all Swift files into shape"
	@echo "make bench    the balancer beside HAProxy; prints a table"
	@echo "make bench-membership   agents beside serf; needs root, an hour; ARGS=\"kill-10 idle-32\" for some of it"
	@echo "make bench-mirrors   stores harmed behind agents, drains, what mirroring costs; half an hour; ARGS=\"drain cpu-redis\" for some of it"
	@echo "make bench-pool   what a page waits for while the server computes; ARGS=\"--rounds 2\" for less of it"
	@echo "make bench-sessions   an agent's sessions beside Redis, and what they cost; ARGS=\"read-50 memory\" for some of it, kills-200 when named"
	@echo "make bench-supervisor   workers killed under a supervisor: how soon the mesh knows, how soon there is another"
	@echo "make fuzz     a million made-up inputs for the decoders; RUNS=10000000 for more"
	@echo "make clean    remove what was built"

demo:
	@.ci/setup build
	swift build -c release --product sessionmesh
	swift build -c release --product sessionmesh-demo
	@exec "$$(swift build -c release --show-bin-path)/sessionmesh" demo $(ARGS)

test:
	@.ci/setup test
	@.ci/test

check:
	@.ci/setup build
	@.ci/check

lab-test:
	@docker/lab-test $(ARGS)

format:
	swift format -i -p -r Package.swift Sources Tests

bench:
	@.ci/setup bench
	Tests/Benchmarks/balancer/run.sh

bench-membership:
	@.ci/setup bench
	Tests/Benchmarks/membership/run.sh $(ARGS)

bench-mirrors:
	@.ci/setup bench
	Tests/Benchmarks/mirrors/run.sh $(ARGS)

bench-pool:
	@.ci/setup build
	Tests/Benchmarks/pool/run.sh $(ARGS)

bench-sessions:
	@.ci/setup bench
	Tests/Benchmarks/sessions/run.sh $(ARGS)

bench-supervisor:
	@.ci/setup build
	Tests/Benchmarks/supervisor/run.sh $(ARGS)

fuzz:
	@.ci/setup build
	Tests/Fuzz/run.sh $(RUNS)

clean:
	rm -rf .build Tests/Benchmarks/.build Tests/Fuzz/.build Tests/Lab/.build
