# Four institutions found a chain; three of them have a gateway. Sourced by the quickstart.

read -r -a ports <<<"$(free_ports 10)"
renkei=$build/gateway/cli/renkei
number=0
for name in clinic hospital laboratory; do
    run "$renkei" init --hospital $name --folder "$folder/$name" --join \
        --listen 127.0.0.1:${ports[number]} --machine 127.0.0.1:${ports[number + 3]} \
        --node 127.0.0.1:${ports[number + 6]}
    number=$((number + 1))
done
run "$renkei" init --hospital university --folder "$folder/university" --join --node-only \
    --node 127.0.0.1:${ports[9]}

note "Each hands its member.json to whoever writes the genesis file, which all install:"
run "$renkei" genesis --name yamaguchi --out "$folder/genesis.json" \
    --member "$folder/clinic/member.json" --member "$folder/hospital/member.json" \
    --member "$folder/laboratory/member.json" --member "$folder/university/member.json"

# A mapping says how a database is reached and what its tables mean; the password is in a file.
add_source() {
    local name=$1 mapping=$2
    show sed "s|@FOLDER@|$folder|" "$parts/$mapping.yaml" '>' "$folder/$name/$mapping.yaml"
    sed "s|@FOLDER@|$folder|; s|@POSTGRESQL_PORT@|$postgresql_port|" "$parts/$mapping.yaml" \
        >"$folder/$name/$mapping.yaml"
    (umask 077 && echo quickstart >"$folder/$name/database.password")
    sources="$sources  - mapping: $mapping.yaml\n"
}
sources='sources:\n'
add_source clinic emr
set_sources clinic
sources='sources:\n'
add_source hospital old-emr
add_source hospital new-emr
set_sources hospital
sources='sources:\n'
add_source laboratory results
set_sources laboratory

for name in clinic hospital laboratory university; do
    others=()
    for other in clinic hospital laboratory; do
        [ $other = $name ] || others+=(--member "$folder/$other/member.json")
    done
    run "$renkei" join --folder "$folder/$name" --genesis "$folder/genesis.json" "${others[@]}"
done
for name in clinic hospital laboratory university; do
    start $name "$renkei" start --folder "$folder/$name"
done
for name in clinic hospital laboratory; do
    until_true $name "$renkei" status --folder "$folder/$name"
done
